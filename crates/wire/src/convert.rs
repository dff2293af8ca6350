//! Numbers of another element type than the input's: numpy's and pandas' numbers are doubles and 64-bit integers unless a
//! program says otherwise. They become the input's as numbers of JSON do: a float is rounded once, anything else has to be
//! exact.

use half::{bf16, f16};
use score::{ElementType, ScoreError, TensorData, TensorSpec, with_elements};

use crate::json::element::rounded_to_odd;
use crate::watch::{self, Watch};

/// Integers up to here are exact as doubles.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// Whether elements of one type may become elements of the other.
pub(crate) fn converts(from: ElementType, to: ElementType) -> bool {
    let is_number = |ty| !matches!(ty, ElementType::Bool | ElementType::String);
    from == to || (is_number(from) && is_number(to))
}

/// The end of an error text: how numpy makes an array of the input's type. Empty if numpy has no such type.
pub(crate) fn advice(spec: &TensorSpec) -> String {
    let ty = match spec.element_type {
        ElementType::BFloat16 => return String::new(),
        ElementType::String => "object",
        ty => ty.as_str(),
    };
    format!("; an array of numpy becomes one by .astype(\"{ty}\")")
}

/// The same for formats that carry numbers only.
pub(crate) fn advice_for_numbers(spec: &TensorSpec) -> String {
    match spec.element_type {
        ElementType::String => {
            "; this format carries no texts: send them as JSON, or as BYTES in the Open Inference Protocol"
                .to_owned()
        }
        _ => advice(spec),
    }
}

/// The elements as those of the input. Memory for them is taken first.
///
/// # Errors
/// [`ScoreError::InvalidInput`] if the types do not go together, or a value does not fit; its text has the first one.
pub(crate) fn converted(
    data: TensorData,
    spec: &TensorSpec,
    target: &str,
    watch: &dyn Watch,
) -> Result<TensorData, ScoreError> {
    let (from, to) = (data.element_type(), spec.element_type);
    if from == to {
        return Ok(data);
    }
    let wrong = |message: String| {
        let message = format!("input {:?}: expected {spec}, got {message}", spec.name);
        ScoreError::invalid(target, message + &advice(spec))
    };
    if !converts(from, to) {
        return Err(wrong(from.to_string()));
    }
    let bytes = to.size().unwrap_or(1).saturating_mul(data.len());
    if !watch.take(bytes) {
        return Err(watch::stopped());
    }
    let made = match (&data, to) {
        // By far the most frequent one.
        (TensorData::Float64(values), ElementType::Float32) => {
            fitted::<f32>(values.len(), |at| Value::Float(values[at]))
        }
        _ => with_elements!(&data, values => of_type(to, values.len(), &|at| values[at].value())),
    };
    made.map_err(|at| {
        let value = with_elements!(&data, values => values[at].to_string());
        let why = match from.is_float() == to.is_float() {
            true => "out of its range",
            false => "not exact as one",
        };
        wrong(format!("{from} whose element {at}, {value}, is {why}"))
    })
}

/// A number of any element type.
#[derive(Debug, Clone, Copy)]
enum Value {
    Whole(i128),
    Float(f64),
    /// Not a number; such types are refused before.
    Other,
}

trait Source {
    fn value(&self) -> Value;
}

macro_rules! source {
    ($variant:ident: $($ty:ident),*) => {$(
        impl Source for $ty {
            fn value(&self) -> Value {
                Value::$variant((*self).into())
            }
        }
    )*};
}
source!(Whole: i8, i16, i32, i64, u8, u16, u32, u64);
source!(Float: f16, bf16, f32, f64);

impl Source for bool {
    fn value(&self) -> Value {
        Value::Other
    }
}

impl Source for String {
    fn value(&self) -> Value {
        Value::Other
    }
}

trait Target: Sized {
    fn fit(value: Value) -> Option<Self>;
}

macro_rules! whole {
    ($($ty:ident),*) => {$(
        impl Target for $ty {
            fn fit(value: Value) -> Option<Self> {
                match value {
                    Value::Whole(value) => value.try_into().ok(),
                    Value::Float(value) if value.fract() == 0.0 && value.abs() <= MAX_EXACT => {
                        (value as i64).try_into().ok()
                    }
                    _ => None,
                }
            }
        }
    )*};
}
whole!(i8, i16, i32, i64, u8, u16, u32, u64);

macro_rules! float {
    ($($ty:ident: $round:expr;)*) => {$(
        impl Target for $ty {
            fn fit(value: Value) -> Option<Self> {
                match value {
                    Value::Whole(whole) => {
                        let double = whole as f64;
                        let value: Self = $round(double);
                        let exact = double as i128 == whole && f64::from(value) == double;
                        exact.then_some(value)
                    }
                    // There are many, and entries of the cache are found by their bits.
                    Value::Float(value) if value.is_nan() => Some(Self::NAN),
                    Value::Float(double) => {
                        let value: Self = $round(double);
                        (value.is_finite() || double.is_infinite()).then_some(value)
                    }
                    Value::Other => None,
                }
            }
        }
    )*};
}
float! {
    f16: |value| f16::from_f32(rounded_to_odd(value));
    bf16: |value| bf16::from_f32(rounded_to_odd(value));
    f32: |value| value as f32;
    f64: |value| value;
}

/// The elements, or the position of the first one that does not fit.
fn fitted<T: Target>(count: usize, value: impl Fn(usize) -> Value) -> Result<TensorData, usize>
where
    TensorData: From<Vec<T>>,
{
    let mut elements = Vec::with_capacity(count);
    for at in 0..count {
        elements.push(T::fit(value(at)).ok_or(at)?);
    }
    Ok(elements.into())
}

fn of_type(
    ty: ElementType,
    count: usize,
    value: &dyn Fn(usize) -> Value,
) -> Result<TensorData, usize> {
    match ty {
        ElementType::Int8 => fitted::<i8>(count, value),
        ElementType::Int16 => fitted::<i16>(count, value),
        ElementType::Int32 => fitted::<i32>(count, value),
        ElementType::Int64 => fitted::<i64>(count, value),
        ElementType::Uint8 => fitted::<u8>(count, value),
        ElementType::Uint16 => fitted::<u16>(count, value),
        ElementType::Uint32 => fitted::<u32>(count, value),
        ElementType::Uint64 => fitted::<u64>(count, value),
        ElementType::Float16 => fitted::<f16>(count, value),
        ElementType::BFloat16 => fitted::<bf16>(count, value),
        ElementType::Float32 => fitted::<f32>(count, value),
        ElementType::Float64 => fitted::<f64>(count, value),
        ElementType::Bool | ElementType::String => Err(0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::nested::{self, Plan};
    use crate::samples;
    use crate::watch::Unwatched;

    fn to(ty: ElementType, data: impl Into<TensorData>) -> Result<TensorData, String> {
        let spec = samples::spec("x", ty, &[-1]);
        let made = converted(data.into(), &spec, "x", &Unwatched);
        made.map_err(|error| error.to_string())
    }

    #[test]
    fn floats_are_rounded_once_and_have_to_stay_finite() {
        let singles = to(
            ElementType::Float32,
            vec![0.1f64, -0.0, 16_777_217.0, 1e-60],
        );
        assert_eq!(singles, Ok(vec![0.1f32, -0.0, 16_777_216.0, 0.0].into()));
        let special = to(ElementType::Float32, vec![f64::INFINITY, -f64::NAN]).unwrap();
        let TensorData::Float32(special) = special else {
            panic!("{special:?}");
        };
        assert_eq!(special[0], f32::INFINITY);
        assert_eq!(special[1].to_bits(), f32::NAN.to_bits());
        let far = to(ElementType::Float32, vec![1.0f64, 1e300]).unwrap_err();
        assert!(far.contains("whose element 1, 1"), "{far}");
        assert!(far.contains("is out of its range"), "{far}");
        // Just above the middle of two halves; as a single it would lie on it, and be rounded down to 1.0.
        let above_middle = 1.0 + 1.0 / 2048.0 + f64::EPSILON;
        let half = to(ElementType::Float16, vec![above_middle]).unwrap();
        assert_eq!(half, vec![f16::from_f32(1.0 + 1.0 / 1024.0)].into());
        let infinite = to(ElementType::Float16, vec![f64::INFINITY, f64::NEG_INFINITY]);
        assert_eq!(infinite, Ok(vec![f16::INFINITY, f16::NEG_INFINITY].into()));
        let doubles = to(ElementType::Float64, vec![0.1f32]);
        assert_eq!(doubles, Ok(vec![f64::from(0.1f32)].into()));
    }

    #[test]
    fn integers_are_converted_where_that_is_exact() {
        assert_eq!(
            to(ElementType::Int64, vec![1i32, -1]),
            Ok(vec![1i64, -1].into())
        );
        assert_eq!(to(ElementType::Int64, vec![255u8]), Ok(vec![255i64].into()));
        assert_eq!(to(ElementType::Int32, vec![7i64]), Ok(vec![7i32].into()));
        assert_eq!(
            to(ElementType::Float32, vec![16_777_216i64, -1]),
            Ok(vec![16_777_216f32, -1.0].into())
        );
        let inexact = to(ElementType::Float32, vec![1i64, 16_777_217]).unwrap_err();
        for part in [
            "input \"x\": expected float32 [?], got int64",
            "element 1, 16777217, is not exact as one",
            ".astype(\"float32\")",
        ] {
            assert!(inexact.contains(part), "{part} in {inexact}");
        }
        assert!(to(ElementType::Float64, vec![i64::MAX]).is_err());
        assert!(to(ElementType::Float16, vec![2049i32]).is_err());
        assert!(to(ElementType::Uint8, vec![-1i64]).is_err());
        assert!(to(ElementType::Int64, vec![u64::MAX]).is_err());
    }

    #[test]
    fn whole_floats_become_integers_and_others_are_refused() {
        assert_eq!(
            to(ElementType::Int64, vec![5.0f64, -0.0]),
            Ok(vec![5i64, 0].into())
        );
        for value in [1.5, f64::NAN, f64::INFINITY, 1e16] {
            let refused = to(ElementType::Int64, vec![value]).unwrap_err();
            assert!(refused.contains(".astype(\"int64\")"), "{refused}");
        }
    }

    #[test]
    fn truth_values_and_texts_are_no_numbers() {
        assert!(to(ElementType::Float32, vec![true]).is_err());
        assert!(to(ElementType::Bool, vec![1u8]).is_err());
        let text = to(ElementType::String, vec![1i64]).unwrap_err();
        assert!(text.contains(".astype(\"object\")"), "{text}");
        let brain = to(ElementType::BFloat16, vec![true]).unwrap_err();
        assert!(!brain.contains("astype"), "{brain}");
    }

    proptest! {
        /// What Python writes of the same numbers as JSON.
        #[test]
        fn json_of_the_same_numbers_gives_the_same_elements(
            doubles in proptest::collection::vec(-1e30f64..1e30, 1..20),
            whole in proptest::collection::vec(-20_000_000i64..20_000_000, 1..20),
        ) {
            for ty in [ElementType::Float32, ElementType::Float16, ElementType::Int32] {
                for (data, text) in [
                    (TensorData::from(doubles.clone()), serde_json::to_string(&doubles).unwrap()),
                    (TensorData::from(whole.clone()), serde_json::to_string(&whole).unwrap()),
                ] {
                    let Ok(made) = to(ty, data) else { continue };
                    let read = nested::read_array(&text, ty, Plan::new(1, 1), &Unwatched);
                    let read = read.map(|tensor| tensor.into_parts().1);
                    prop_assert_eq!(Some(made), read, "{}", text);
                }
            }
        }
    }
}
