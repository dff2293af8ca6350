// ONNX files of models that answer what they are sent, for signatures that no sample model has.

const TYPES = { FP32: 1, INT64: 7, BYTES: 8, BOOL: 9, FP16: 10 };

function varint(value) {
  const bytes = [];
  for (let rest = BigInt(value); ; rest >>= 7n) {
    if (rest < 128n) return Buffer.from([...bytes, Number(rest)]);
    bytes.push(Number(rest & 127n) | 128);
  }
}

const number = (field, value) => Buffer.concat([varint(field << 3), varint(value)]);

function bytes(field, ...content) {
  const whole = Buffer.concat(content.map((part) => (typeof part === "string" ? Buffer.from(part) : part)));
  return Buffer.concat([varint((field << 3) | 2), varint(whole.length), whole]);
}

/** A tensor of that name; its first axis is the rows, unless a shape is given, whose free axes are null. */
function described(field, { name, datatype, width, shape = [null, ...(width === undefined ? [] : [width])] }) {
  const axes = shape.map((length, axis) => bytes(1, length === null ? bytes(2, axis === 0 ? "batch" : `axis${axis}`) : number(1, length)));
  return bytes(field, bytes(1, name), bytes(2, bytes(1, number(1, TYPES[datatype]), bytes(2, ...axes))));
}

/** A model whose every input comes back as `out<n>`. Source of the fields: onnx.proto of ONNX 1.16. */
export function identity(inputs) {
  const outputs = inputs.map((input, index) => ({ ...input, name: `out${index}` }));
  const nodes = inputs.map(({ name }, index) => bytes(1, bytes(1, name), bytes(2, `out${index}`), bytes(4, "Identity")));
  const graph = bytes(7, ...nodes, bytes(2, "g"), ...inputs.map((own) => described(11, own)), ...outputs.map((own) => described(12, own)));
  return Buffer.concat([number(1, 8), graph, bytes(8, number(2, 17))]);
}
