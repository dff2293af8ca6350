from score_onnx import main

main()
