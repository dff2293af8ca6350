//! `[output.<name>]` of `model.toml`: how callers read an output. What is stored stays the model's own output, so a change of
//! these keys keeps all stored results.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::folder::{ModelOptions, is_file_name};
use super::small_file::read_small_file;
use crate::error::{LoadError, quoted};
use crate::signature::{ModelSignature, OutputForm, TensorSpec};
use crate::tensor::{ElementType, NamedTensor, Tensor};
use crate::text::Activation;

/// The keys an output may have.
pub(super) const OUTPUT_KEYS: [&str; 3] = ["activation", "top_k", "labels"];
/// Longer files are no lists of names.
const MAX_LABELS_BYTES: u64 = 1 << 20;

/// How callers read an output.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputOptions {
    /// What makes scores of the output's values, along its last axis.
    pub activation: Option<Activation>,
    /// How many of the highest values of a row are told, with their labels; all of them if not given.
    pub top_k: Option<usize>,
    /// The names of the classes, by their number.
    #[serde(default)]
    labels: Labels,
}

/// The names of classes as `model.toml` gives them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a list of names, or the name of a file with one on each line"
)]
enum Labels {
    List(Vec<String>),
    File(String),
}

impl Default for Labels {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl OutputOptions {
    /// The names of the classes; none if there are none of its own.
    pub fn labels(&self) -> &[String] {
        match &self.labels {
            Labels::List(labels) => labels,
            Labels::File(_) => &[],
        }
    }

    /// The file beside the model that has the labels.
    pub(super) fn labels_file(&self) -> Option<&str> {
        match &self.labels {
            Labels::File(name) => Some(name),
            Labels::List(_) => None,
        }
    }

    /// What is wrong with the options for any model.
    pub(super) fn refuse_senseless(&self) -> Result<(), String> {
        if self.top_k == Some(0) {
            return Err("top_k: expected 1 or more".to_owned());
        }
        if let Some(name) = self.labels_file().filter(|name| !is_file_name(name)) {
            return Err(format!(
                "labels: expected a list, or the name of a file beside model.onnx; found {}",
                quoted(name)
            ));
        }
        Ok(())
    }

    /// Reads the labels from their file in `folder`: one name on each line.
    pub(super) fn read_labels(&mut self, folder: &Path) -> Result<(), String> {
        let Some(name) = self.labels_file() else {
            return Ok(());
        };
        let read = read_small_file(&folder.join(name), MAX_LABELS_BYTES);
        let text = read.map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => {
                format!("labels: {name:?}: expected a text file of at most 1 MiB")
            }
            _ => format!("labels: {name:?} beside model.onnx cannot be read: {error}"),
        })?;
        let text = String::from_utf8(text);
        let text = text.map_err(|_| format!("labels: {name:?}: expected UTF-8 text"))?;
        let lines = text.trim_start_matches('\u{feff}').trim_end().lines();
        self.labels = Labels::List(lines.map(|line| line.trim().to_owned()).collect());
        self.refuse_senseless()
    }

    /// Makes the output what callers see.
    pub(crate) fn finish(&self, tensor: &mut Tensor) {
        let activation = self.activation.unwrap_or(Activation::None);
        let width = match *tensor.shape() {
            // One value for each row.
            [] | [_] => 1,
            [.., width] => width,
        };
        if width > 0 && activation != Activation::None {
            tensor.change_floats(|values| {
                let parts = values.chunks_exact_mut(width);
                parts.for_each(|part| activate(activation, part));
            });
        }
    }

    /// What is wrong with the options beside the output they are for. `width` is how many values a row has, where that is
    /// known; `general` are the labels for all outputs.
    fn check(
        &self,
        spec: &TensorSpec,
        width: Option<usize>,
        general: &[String],
    ) -> Result<(), String> {
        use ElementType::{Bool, String};
        let ty = spec.element_type;
        let is_float = ty.is_float();
        if self.activation.is_some() && !is_float {
            return Err(format!(
                "activation: needs an output of floats; it is {spec}"
            ));
        }
        let is_row = spec.shape.as_ref().is_none_or(|dims| dims.len() >= 2);
        if self.activation == Some(Activation::Softmax) && !is_row {
            return Err(format!(
                "activation: softmax needs a row of floats, one for each class; the output is {spec}"
            ));
        }
        if self.top_k.is_some() && !(is_float && may_be_matrix(spec)) {
            return Err(format!(
                "top_k: needs a row of floats, one for each class; the output is {spec}"
            ));
        }
        if matches!(ty, Bool | String) && !self.labels().is_empty() {
            return Err(format!("labels: needs numbers; the output is {spec}"));
        }
        if is_float && !self.labels().is_empty() && !may_be_matrix(spec) {
            return Err(format!(
                "labels: needs a row of floats, one for each class; the output is {spec}"
            ));
        }
        let mut seen = BTreeSet::new();
        let twice = self.labels().iter().find(|label| !seen.insert(*label));
        if let Some(label) = twice.filter(|_| is_float && self.top_k.is_none()) {
            return Err(format!(
                "labels: {label:?} is named twice, and a row is answered as an object of values by label; tell the classes \
                 apart, or set top_k"
            ));
        }
        let (key, labels) = match self.labels() {
            [] => ("labels for all outputs", general),
            own => ("labels", own),
        };
        let counts = is_float && (self.top_k.is_some() || !self.labels().is_empty());
        match width {
            Some(width) if counts && !labels.is_empty() && labels.len() != width => Err(format!(
                "{key}: {} names, and the output has {width} values in each row; name each of them, in the model's order",
                labels.len()
            )),
            _ => Ok(()),
        }
    }
}

fn may_be_matrix(spec: &TensorSpec) -> bool {
    spec.shape.as_ref().is_none_or(|dims| dims.len() == 2)
}

fn activate(activation: Activation, values: &mut [f64]) {
    match activation {
        Activation::None => {}
        Activation::Sigmoid => values
            .iter_mut()
            .for_each(|v| *v = 1.0 / (1.0 + (-*v).exp())),
        Activation::Softmax => {
            // Against overflow.
            let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            values.iter_mut().for_each(|v| *v = (*v - most).exp());
            let sum: f64 = values.iter().sum();
            values.iter_mut().for_each(|v| *v /= sum);
        }
    }
}

impl ModelOptions {
    /// Reads the labels of outputs from the files in `folder` that have them, and names these.
    ///
    /// # Errors
    /// [`LoadError::Options`] if there is no such file, or it is no list of names.
    pub(super) fn read_labels(&mut self, folder: &Path) -> Result<BTreeSet<PathBuf>, LoadError> {
        let outputs = self.output.values();
        let files = outputs.filter_map(|output| Some(output.labels_file()?.into()));
        let files = files.collect();
        let mut outputs = self.output.iter_mut();
        let read = outputs.try_for_each(|(name, output)| {
            let read = output.read_labels(folder);
            read.map_err(|reason| format!("output.{name}: {reason}"))
        });
        read.map_err(|reason| self.wrong(&reason))?;
        Ok(files)
    }

    /// The labels of an output: its own, or those for all outputs.
    pub fn labels_of(&self, output: &str) -> &[String] {
        match self.output.get(output).map(OutputOptions::labels) {
            None | Some([]) => &self.labels,
            Some(own) => own,
        }
    }
}

impl ModelSignature {
    /// Makes what callers see of the outputs of a model.
    pub(crate) fn finish(&self, options: &ModelOptions, outputs: &mut [NamedTensor]) {
        for (name, own) in &options.output {
            if let Some(output) = outputs.iter_mut().find(|output| output.name == *name) {
                own.finish(&mut output.tensor);
            }
        }
    }
}

/// Checks the options of all outputs against the model. `width_of` tells how many values a row of an output has, by its place
/// in [`ModelSignature::outputs`], where the file does not.
///
/// # Errors
/// What to change in `model.toml`.
pub(crate) fn check_outputs(
    options: &ModelOptions,
    signature: &ModelSignature,
    mut width_of: impl FnMut(usize) -> Option<usize>,
) -> Result<(), String> {
    for (name, own) in &options.output {
        let declared = signature
            .declared
            .iter()
            .find(|output| output.name == *name);
        let declared = declared.ok_or_else(|| {
            let known: Vec<&str> = signature.declared.iter().map(|o| o.name.as_str()).collect();
            format!(
                "output: the model has no output {name:?}; it has {}",
                known.join(", ")
            )
        })?;
        let OutputForm::Tensor(index) = declared.form else {
            return Err(format!(
                "output.{name}: only tensors have these options; this output is a list"
            ));
        };
        let Some(spec) = signature.outputs.get(index) else {
            continue;
        };
        let declared = spec
            .signed_shape()
            .get(1)
            .and_then(|n| usize::try_from(*n).ok());
        let width = declared.or_else(|| width_of(index));
        let checked = own.check(spec, width, &options.labels);
        checked.map_err(|reason| format!("output.{name}: {reason}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::Dim;
    use crate::tensor::TensorData;

    fn options(text: &str) -> ModelOptions {
        toml::from_str(text).unwrap()
    }

    fn signature(ty: ElementType, dims: &[i64]) -> ModelSignature {
        let dims = dims.iter();
        let spec = TensorSpec {
            name: "y".into(),
            element_type: ty,
            shape: Some(
                dims.map(|n| usize::try_from(*n).map_or(Dim::Dynamic(None), Dim::Fixed))
                    .collect(),
            ),
        };
        ModelSignature::of_tensors(vec![], vec![spec])
    }

    fn floats(option: &str, shape: Vec<usize>, values: &[f32]) -> Vec<f32> {
        let options = options(&format!("[output.y]\n{option}"));
        let mut tensor = Tensor::new(shape, values.to_vec().into()).unwrap();
        options.output["y"].finish(&mut tensor);
        let TensorData::Float32(values) = tensor.into_parts().1 else {
            panic!("floats");
        };
        values
    }

    #[test]
    fn activations_work_along_the_last_axis() {
        let row = [1000.0, 1001.0, f32::NEG_INFINITY];
        let softmax = floats(
            "activation = \"softmax\"",
            vec![2, 3],
            &[row, [0.0; 3]].concat(),
        );
        // scipy.special.softmax([1000, 1001, -inf]) is [0.26894143, 0.73105854, 0].
        let third = 1.0 / 3.0;
        assert_eq!(
            softmax,
            [0.268_941_43, 0.731_058_6, 0.0, third, third, third]
        );
        let sigmoid = floats("activation = \"sigmoid\"", vec![3], &[0.0, 2.0, -800.0]);
        assert_eq!(sigmoid, [0.5, 0.880_797_1, 0.0]);
        assert_eq!(floats("activation = \"sigmoid\"", vec![], &[0.0]), [0.5]);
        assert_eq!(floats("top_k = 2", vec![1, 2], &[3.0, 4.0]), [3.0, 4.0]);
        assert!(floats("activation = \"softmax\"", vec![0, 3], &[]).is_empty());
        let nan = floats("activation = \"softmax\"", vec![1, 2], &[f32::NAN, 1.0]);
        assert!(nan.iter().all(|v| v.is_nan()));
    }

    #[test]
    fn options_that_do_not_fit_an_output_say_what_would() {
        let check = |text: &str, ty, dims: &[i64], width: Option<usize>| {
            check_outputs(&options(text), &signature(ty, dims), |_| width)
        };
        let float = ElementType::Float32;
        let three = "[output.y]\nlabels = [\"a\", \"b\", \"c\"]\n";
        assert_eq!(check(three, float, &[-1, 3], None), Ok(()));
        assert_eq!(check(three, float, &[-1, -1], None), Ok(()));
        assert_eq!(check(three, ElementType::Int64, &[-1], None), Ok(()));
        let general = "labels = [\"a\", \"b\"]\n[output.y]\n";
        assert_eq!(check(general, float, &[-1, 3], None), Ok(()));
        for (text, ty, dims, width, expected) in [
            (
                "[output.y]\nactivation = \"softmax\"\n",
                float,
                &[-1i64][..],
                None,
                "softmax needs a row of floats",
            ),
            (
                three,
                float,
                &[-1i64, 2][..],
                None,
                "3 names, and the output has 2 values",
            ),
            (
                three,
                float,
                &[-1, -1],
                Some(4),
                "3 names, and the output has 4 values",
            ),
            (three, float, &[-1], None, "labels: needs a row of floats"),
            (
                three,
                ElementType::String,
                &[-1],
                None,
                "labels: needs numbers",
            ),
            (
                "[output.y]\ntop_k = 2",
                ElementType::Int64,
                &[-1, 3],
                None,
                "top_k: needs a row of floats",
            ),
            (
                "[output.y]\nactivation = \"softmax\"",
                ElementType::Int64,
                &[-1],
                None,
                "activation: needs",
            ),
            (
                "[output.y]\nlabels = [\"a\", \"a\"]",
                float,
                &[-1, 2],
                None,
                "\"a\" is named twice",
            ),
            (
                "[output.z]\ntop_k = 2",
                float,
                &[-1, 3],
                None,
                "no output \"z\"; it has y",
            ),
        ] {
            let refusal = check(text, ty, dims, width).unwrap_err();
            assert!(refusal.contains(expected), "{refusal}");
        }
        let general = format!("{general}top_k = 1");
        let refusal = check(&general, float, &[-1, 3], None).unwrap_err();
        assert!(
            refusal.contains("labels for all outputs: 2 names"),
            "{refusal}"
        );
    }

    #[test]
    fn labels_of_a_file_are_its_lines() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str| {
            let mut options = options(&format!("[output.y]\nlabels = {name:?}"))
                .output
                .remove("y")
                .unwrap();
            options.refuse_senseless()?;
            options.read_labels(folder.path())?;
            Ok::<_, String>(options.labels().to_vec())
        };
        std::fs::write(
            folder.path().join("l.txt"),
            "\u{feff}cat\r\n dog \nbig cat\n\n",
        )
        .unwrap();
        assert_eq!(read("l.txt").unwrap(), ["cat", "dog", "big cat"]);
        std::fs::write(folder.path().join("twice.txt"), "cat\ncat\n").unwrap();
        // As in lists of ImageNet's classes, which have two cranes.
        assert_eq!(read("twice.txt").unwrap(), ["cat", "cat"]);
        assert!(read("none.txt").unwrap_err().contains("cannot be read"));
        assert!(read("../l.txt").unwrap_err().contains("beside model.onnx"));
    }
}
