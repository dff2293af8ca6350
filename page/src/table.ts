// The dialects and formats that the page writes. The test the_page_has_the_table_of_dialects of the crate wire prints
// this file.

export const TABLE = [
  {"label":"Azure ML: data","type":"application/json","sample":{"data":"$rows"},"under":null},
  {"label":"Azure ML: Inputs","type":"application/json","sample":{"Inputs":{"data":"$rows"}},"under":"Results"},
  {"label":"MLflow on Azure ML: input_data","type":"application/json","sample":{"input_data":{"columns":"$names","data":"$cells"}},"under":null},
  {"label":"MLflow: dataframe_split","type":"application/json","sample":{"dataframe_split":{"columns":"$names","data":"$cells"}},"under":"predictions"},
  {"label":"MLflow: dataframe_records","type":"application/json","sample":{"dataframe_records":"$records"},"under":"predictions"},
  {"label":"TensorFlow Serving: instances","type":"application/json","sample":{"instances":"$list"},"under":"predictions"},
  {"label":"Open Inference Protocol: inputs","type":"application/json","sample":{"inputs":"$tensors"},"under":null},
  {"label":"TensorFlow Serving: inputs","type":"application/json","sample":{"inputs":"$columns"},"under":"outputs"},
  {"label":"MLflow: inputs","type":"application/json","sample":{"inputs":"$list"},"under":"predictions"},
  {"label":"text/csv","type":"text/csv","sample":"$table","under":null},
] as const;
