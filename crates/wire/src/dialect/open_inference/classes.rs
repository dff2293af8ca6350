//! Triton's classification extension: for each row the highest values as texts.
//!
//! Source: Triton, "Classification Extension": `"<value>:<index>"`, or `"<value>:<index>:<label>"`. Values of floats have six
//! decimals there, as C++ writes them by default.

use score::{Dim, Tensor, TensorData, TensorSpec};

use crate::json::output::highest_first;

/// The `count` highest values of each row, the highest first. `None` for elements that are not numbers.
pub(super) fn classes(
    tensor: &Tensor,
    spec: &TensorSpec,
    count: usize,
    labels: &[String],
) -> Option<Tensor> {
    // A list of a fixed length is one of classes; any other list has one value in each row.
    let rows = match (tensor.shape(), spec.dims()) {
        ([], _) | ([_], [Dim::Fixed(_)]) => None,
        ([rows, ..], _) => Some(*rows),
    };
    let width = match rows {
        None => tensor.data().len(),
        Some(_) => tensor.row_shape().iter().product(),
    };
    let count = count.min(width);
    let float = |value: f64| format!("{value:.6}");
    macro_rules! texts {
        ($($variant:ident $text:expr),*) => {
            match tensor.data() {
                $(TensorData::$variant(v) => texts(v, width, count, labels, $text),)*
                TensorData::Bool(_) | TensorData::String(_) => return None,
            }
        };
    }
    let texts = texts!(
        Int8 i8::to_string, Int16 i16::to_string, Int32 i32::to_string, Int64 i64::to_string,
        Uint8 u8::to_string, Uint16 u16::to_string, Uint32 u32::to_string, Uint64 u64::to_string,
        Float16 |v| float(v.to_f64()), BFloat16 |v| float(v.to_f64()),
        Float32 |v| float(f64::from(*v)), Float64 |v| float(*v)
    );
    let shape = rows.into_iter().chain([count]).collect();
    Tensor::new(shape, texts.into()).ok()
}

fn texts<T: PartialOrd>(
    values: &[T],
    width: usize,
    count: usize,
    labels: &[String],
    text: impl Fn(&T) -> String,
) -> Vec<String> {
    let rows = values.chunks(width.max(1));
    let rows = rows.flat_map(|row| {
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|a, b| highest_first(&row[*a], &row[*b]));
        order.truncate(count);
        let text = &text;
        order.into_iter().map(move |class| {
            let value = text(&row[class]);
            match labels.get(class) {
                Some(label) => format!("{value}:{class}:{label}"),
                None => format!("{value}:{class}"),
            }
        })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::spec;
    use score::ElementType;

    fn strings(tensor: Option<Tensor>) -> (Vec<usize>, Vec<String>) {
        let (shape, data) = tensor.unwrap().into_parts();
        let TensorData::String(texts) = data else {
            panic!("texts");
        };
        (shape, texts)
    }

    #[test]
    fn the_highest_values_of_each_row_come_first_and_have_their_labels() {
        let spec = spec("p", ElementType::Float32, &[-1, 3]);
        let tensor =
            Tensor::new(vec![2, 3], vec![0.1f32, 0.7, 0.2, 3.0, -1.0, 3.0].into()).unwrap();
        let labels = ["red".to_owned(), "green".to_owned()];
        let (shape, texts) = strings(classes(&tensor, &spec, 2, &labels));
        assert_eq!(shape, [2, 2]);
        let expected = [
            "0.700000:1:green",
            "0.200000:2",
            "3.000000:0:red",
            "3.000000:2",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn lists_of_a_fixed_length_are_classes_and_others_are_rows() {
        let values = Tensor::new(vec![3], vec![5i64, 9, 7].into()).unwrap();
        let fixed = spec("y", ElementType::Int64, &[3]);
        let (shape, texts) = strings(classes(&values, &fixed, 10, &[]));
        assert_eq!(
            (shape, texts),
            (vec![3], vec!["9:1".into(), "7:2".into(), "5:0".into()])
        );
        let free = spec("y", ElementType::Int64, &[-1]);
        let (shape, texts) = strings(classes(&values, &free, 10, &[]));
        assert_eq!(
            (shape, texts),
            (vec![3, 1], vec!["5:0".into(), "9:0".into(), "7:0".into()])
        );
    }

    #[test]
    fn a_value_that_is_no_number_does_no_harm_and_texts_have_no_classes() {
        let spec = spec("p", ElementType::Float64, &[-1, 2]);
        let tensor = Tensor::new(vec![1, 2], vec![f64::NAN, 1.0].into()).unwrap();
        let (shape, _) = strings(classes(&tensor, &spec, usize::MAX, &[]));
        assert_eq!(shape, [1, 2]);
        let tensor = Tensor::new(vec![1, 2], vec![String::new(), String::new()].into()).unwrap();
        assert!(classes(&tensor, &spec, 1, &[]).is_none());
    }
}
