//! `2_Dense` of sentence-transformers: a layer behind the pooling.

use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use score::LoadError;

use crate::config::{DenseConfig, read_bytes, wrong};

/// A layer of 16,384 to 16,384 numbers.
const MAX_WEIGHT_BYTES: u64 = 1 << 30;

/// A linear layer with its activation.
#[derive(Debug, Clone)]
pub(crate) struct Dense {
    inputs: usize,
    /// One row of `inputs` numbers for each output.
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
    activation: Activation,
    residual: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activation {
    Identity,
    Tanh,
    Relu,
    Sigmoid,
}

impl Activation {
    /// The activation that PyTorch calls so, such as `torch.nn.modules.activation.Tanh`.
    fn of_name(name: &str) -> Option<Self> {
        Some(match name.rsplit('.').next()? {
            "Identity" => Self::Identity,
            "Tanh" => Self::Tanh,
            "ReLU" => Self::Relu,
            "Sigmoid" => Self::Sigmoid,
            _ => return None,
        })
    }

    fn apply(self, value: f32) -> f32 {
        match self {
            Self::Identity => value,
            Self::Tanh => value.tanh(),
            Self::Relu => value.max(0.0),
            Self::Sigmoid => 1.0 / (1.0 + (-value).exp()),
        }
    }
}

impl Dense {
    /// Reads the layer in this folder; what the model's digest covers of it is added to `digested`.
    ///
    /// # Errors
    /// If a file is missing, or asks for something that is not known.
    pub(crate) fn read(folder: &Path, digested: &mut Vec<u8>) -> Result<Self, LoadError> {
        let config = DenseConfig::read(folder)?;
        let of_config = |reason: String| wrong(&folder.join("config.json"), reason);
        let name = config.activation_function.as_deref().unwrap_or("Tanh");
        let activation = Activation::of_name(name).ok_or_else(|| {
            of_config(format!(
                "activation_function: expected Identity, Tanh, ReLU or Sigmoid of torch.nn; found {:?}; export the layer \
                 as part of the ONNX file (output sentence_embedding)",
                name.chars().take(200).collect::<String>()
            ))
        })?;
        if let Some(input) = config
            .module_input_name
            .filter(|name| name != "sentence_embedding")
        {
            let input: String = input.chars().take(200).collect();
            return Err(of_config(format!(
                "module_input_name: expected \"sentence_embedding\"; found {input:?}"
            )));
        }
        let (inputs, outputs) = (config.in_features, config.out_features);
        if config.use_residual && inputs != outputs {
            return Err(of_config(
                "use_residual: expected as many outputs as inputs".to_owned(),
            ));
        }
        let file = folder.join("model.safetensors");
        let bytes = read_bytes(&file, MAX_WEIGHT_BYTES)?;
        let bytes = bytes.ok_or_else(|| {
            wrong(
                &file,
                "there is no such file; save the model with safe_serialization".to_owned(),
            )
        })?;
        digested.extend_from_slice(blake3::hash(&bytes).as_bytes());
        // What the config adds to the weights: with another activation they give other vectors.
        let rest = [
            activation as u8,
            config.use_residual.into(),
            config.bias.into(),
        ];
        digested.extend_from_slice(&rest);
        let tensors = SafeTensors::deserialize(&bytes);
        let tensors =
            tensors.map_err(|error| wrong(&file, format!("no safetensors file: {error:?}")))?;
        let read = |name: &str, shape: &[usize]| {
            floats(&tensors, name, shape).map_err(|reason| wrong(&file, reason))
        };
        let bias = config.bias.then(|| read("linear.bias", &[outputs]));
        Ok(Self {
            weight: read("linear.weight", &[outputs, inputs])?,
            bias: bias.transpose()?,
            activation,
            residual: config.use_residual,
            inputs,
        })
    }

    /// Numbers of a vector that goes in.
    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Numbers of a vector that comes out.
    pub(crate) fn outputs(&self) -> usize {
        self.weight.len() / self.inputs.max(1)
    }

    /// What the layer makes of one vector.
    pub(crate) fn apply(&self, vector: &[f32]) -> Vec<f32> {
        let rows = self.weight.chunks_exact(self.inputs.max(1));
        let output = |(index, row): (usize, &[f32])| {
            let sum: f32 = row
                .iter()
                .zip(vector)
                .map(|(weight, value)| weight * value)
                .sum();
            let bias = self.bias.as_ref().map_or(0.0, |bias| bias[index]);
            let residual = if self.residual { vector[index] } else { 0.0 };
            self.activation.apply(sum + bias) + residual
        };
        rows.enumerate().map(output).collect()
    }
}

/// A tensor of float32 of this shape.
fn floats(tensors: &SafeTensors<'_>, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
    let tensor = tensors.tensor(name);
    let tensor = tensor.map_err(|_| format!("expected a tensor {name:?}"))?;
    if tensor.shape() != shape {
        let found = tensor.shape();
        return Err(format!(
            "{name}: expected the shape {shape:?} that config.json says; found {found:?}"
        ));
    }
    let data = tensor.data();
    match tensor.dtype() {
        Dtype::F32 => Ok(data
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect()),
        other => Err(format!(
            "{name}: expected F32; found {other:?}; save the model in float32"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes the layer y = tanh(W x + b) with W of 2 x 3.
    fn write(folder: &Path, config: &str) {
        std::fs::write(folder.join("config.json"), config).unwrap();
        let numbers: [f32; 8] = [1.0, 0.0, 0.5, 0.0, 2.0, 0.0, 0.25, -1.0];
        let bytes: Vec<u8> = numbers
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let header = r#"{"linear.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"linear.bias":{"dtype":"F32","shape":[2],"data_offsets":[24,32]}}"#;
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend(bytes);
        std::fs::write(folder.join("model.safetensors"), file).unwrap();
    }

    #[test]
    fn the_layer_is_linear_with_an_activation() {
        let root = tempfile::tempdir().unwrap();
        let read = |config: &str| {
            write(root.path(), config);
            Dense::read(root.path(), &mut Vec::new())
        };
        let tanh = read(r#"{"in_features":3,"out_features":2,"bias":true,"activation_function":"torch.nn.modules.activation.Tanh"}"#).unwrap();
        assert_eq!(tanh.inputs(), 3);
        assert_eq!(tanh.apply(&[1.0, 1.0, 2.0]), [2.25f32.tanh(), 1f32.tanh()]);
        let plain = read(r#"{"in_features":3,"out_features":2,"bias":false,"activation_function":"torch.nn.modules.linear.Identity"}"#).unwrap();
        assert_eq!(plain.apply(&[1.0, 1.0, 2.0]), [2.0, 2.0]);
        for (config, reason) in [
            (
                r#"{"in_features":4,"out_features":2}"#,
                "linear.weight: expected the shape [2, 4]",
            ),
            (
                r#"{"in_features":3,"out_features":2,"activation_function":"my.Mish"}"#,
                "activation_function: expected",
            ),
            (
                r#"{"in_features":3,"out_features":2,"module_input_name":"token_embeddings"}"#,
                "module_input_name",
            ),
            (r#"{"in_features":3}"#, "missing field `out_features`"),
        ] {
            let message = read(config).unwrap_err().to_string();
            assert!(message.contains(reason), "{message}");
        }
    }
}
