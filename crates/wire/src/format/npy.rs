//! numpy's file format, in and out: `application/x-npy`.

use std::io::ErrorKind;

use half::f16;
use npyz::{NpyFile, Order, WriterBuilder};
use score::{
    ElementType, InferenceResponse, ModelMetadata, ModelSignature, NamedTensor, OutputForm,
    ScoreError, Shape, Tensor, TensorData, TensorSpec, with_elements,
};

use super::{Elements, Format, NPY_MAGIC, Writing};
use crate::body::{Encoded, only_input};
use crate::context::too_many_rows;
use crate::convert;
use crate::json::output;
use crate::watch::Watch;

/// `application/x-npy`
pub(crate) static NPY: Format = Format {
    body: "a numpy array for the one input",
    answer: "the bare result; an array with `Accept: application/x-npy`",
    content_types: &[CONTENT_TYPE],
    coding: None,
    aliases: &[],
    is_text: false,
    is_packed: false,
    elements: Elements::AsInBody,
    recognises: |body, _| body.starts_with(NPY_MAGIC),
    read: Some(|contents| {
        let metadata = contents.metadata;
        let (max_rows, watch) = (contents.bounds.max_rows(metadata), contents.bounds.watch);
        Ok(read(contents.body, &metadata.signature, max_rows, watch)?.into())
    }),
    writing: Some(Writing {
        write: answer,
        described: |metadata| {
            answers(metadata).then_some("A numpy array, if `Accept` asks for it.")
        },
    }),
    described: |metadata| {
        let spec = only_input(&metadata.signature).ok()?;
        has_type_of(spec).then(|| format!("A numpy array, {spec}."))
    },
    sample: None,
};

const TARGET: &str = "body";
/// The content type of npy bodies and answers.
pub(crate) const CONTENT_TYPE: &str = "application/x-npy";

/// Reads an array for the model's one input, of at most `max_rows` rows. Numbers of another type are converted.
///
/// # Errors
/// [`ScoreError::InvalidInput`] if the body is not an npy file, or its type or shape does not fit.
pub(crate) fn read(
    body: &[u8],
    signature: &ModelSignature,
    max_rows: Option<usize>,
    watch: &dyn Watch,
) -> Result<Vec<NamedTensor>, ScoreError> {
    let wrong = |message: String| ScoreError::invalid(TARGET, message);
    let spec = only_input(signature)?;
    let start = check_header(body);
    let start = start.map_err(|reason| wrong(format!("not an npy file: {reason}")))?;
    let file = NpyFile::new(body).map_err(|error| {
        let reason: String = error.to_string().chars().take(200).collect();
        wrong(format!("not an npy file: {reason}"))
    })?;
    let dtype = file.dtype().descr();
    let shape: Shape = file.shape().iter().map(|n| *n as usize).collect();
    if score::element_count(&shape).is_none_or(|count| count > body.len()) {
        return Err(wrong(format!(
            "the file does not hold a shape of {shape:?}"
        )));
    }
    if let (Some(most), Some(rows)) = (max_rows, shape.first())
        && *rows > most
    {
        return Err(too_many_rows(most));
    }
    let fortran = file.order() == Order::Fortran && shape.len() > 1;
    let found = type_of(&dtype);
    let found = found.filter(|found| convert::converts(*found, spec.element_type));
    let data = found.map_or_else(
        || Err(ErrorKind::Unsupported.into()),
        |found| elements(file, found),
    );
    let data = data.map_err(|error| {
        wrong(match error.kind() {
            ErrorKind::UnexpectedEof => {
                format!("the file is cut: its header announces an array of the shape {shape:?}")
            }
            _ => {
                let (name, advice) = (&spec.name, convert::advice_for_numbers(spec));
                format!("input {name:?}: expected {spec}, got an array of dtype {dtype}{advice}")
            }
        })
    })?;
    let bytes = data.len() * data.element_type().size().unwrap_or_default();
    let behind = body.len().saturating_sub(start + bytes);
    ends(behind, &shape).map_err(wrong)?;
    let data = convert::converted(data, spec, TARGET, watch)?;
    let data = if fortran {
        row_major(&shape, &data)
    } else {
        data
    };
    let tensor = Tensor::new(shape, data).map_err(|error| wrong(error.to_string()))?;
    spec.check(&tensor, TARGET)?;
    let name = spec.name.clone();
    Ok(vec![NamedTensor { name, tensor }])
}

fn ends(bytes_behind: usize, shape: &Shape) -> Result<(), String> {
    match bytes_behind {
        0 => Ok(()),
        behind => Err(format!(
            "expected the end of the file behind its array of the shape {shape:?}, found {behind} more bytes; send one array \
             in each body"
        )),
    }
}

/// The most bytes of a header; numpy itself reads no more unless it is told to trust the file.
const MAX_HEADER_BYTES: usize = 10_000;

/// A header is a Python dictionary, and the library's parser takes exponential time over nested lists and dictionaries.
/// That of an array of plain numbers has neither. Returns where the array begins.
fn check_header(body: &[u8]) -> Result<usize, &'static str> {
    const TOO_SHORT: &str = "it ends in its header";
    let version = *body.get(6).ok_or(TOO_SHORT)?;
    let (length, start) = match (version, body.get(8..12)) {
        (1, Some(&[a, b, ..])) => (u16::from_le_bytes([a, b]).into(), 10),
        (2 | 3, Some(&[a, b, c, d])) => (u32::from_le_bytes([a, b, c, d]) as usize, 12),
        (1..=3, _) => return Err(TOO_SHORT),
        _ => return Err("its version is not known"),
    };
    if length > MAX_HEADER_BYTES {
        return Err("its header is too long");
    }
    let header = body.get(start..start + length).ok_or(TOO_SHORT)?;
    let dictionaries = header.iter().filter(|byte| **byte == b'{').count();
    if header.contains(&b'[') || dictionaries != 1 {
        return Err("its header is not one of an array of numbers");
    }
    // The library multiplies the lengths without checking for overflow.
    let numbers = header.split(|byte| !byte.is_ascii_digit());
    let lengths = numbers.filter(|digits| !digits.is_empty()).map(|digits| {
        let digits = std::str::from_utf8(digits).ok()?;
        digits.parse::<u64>().ok()
    });
    let mut lengths = lengths.map(|length| length.map(|n| n.max(1)));
    let product = lengths.try_fold(1u64, |all, length| all.checked_mul(length?));
    let product = product.ok_or("its shape is too large");
    product.map(|_| start + length)
}

/// The element type of a dtype such as `'<f8'`; `None` for types that no input has.
fn type_of(dtype: &str) -> Option<ElementType> {
    let dtype = dtype
        .trim_matches('\'')
        .trim_start_matches(['<', '>', '|', '=']);
    Some(match dtype {
        "b1" => ElementType::Bool,
        "i1" => ElementType::Int8,
        "i2" => ElementType::Int16,
        "i4" => ElementType::Int32,
        "i8" => ElementType::Int64,
        "u1" => ElementType::Uint8,
        "u2" => ElementType::Uint16,
        "u4" => ElementType::Uint32,
        "u8" => ElementType::Uint64,
        "f2" => ElementType::Float16,
        "f4" => ElementType::Float32,
        "f8" => ElementType::Float64,
        _ => return None,
    })
}

fn elements(file: NpyFile<&[u8]>, ty: ElementType) -> std::io::Result<TensorData> {
    Ok(match ty {
        ElementType::Bool => file.into_vec::<bool>()?.into(),
        ElementType::Int8 => file.into_vec::<i8>()?.into(),
        ElementType::Int16 => file.into_vec::<i16>()?.into(),
        ElementType::Int32 => file.into_vec::<i32>()?.into(),
        ElementType::Int64 => file.into_vec::<i64>()?.into(),
        ElementType::Uint8 => file.into_vec::<u8>()?.into(),
        ElementType::Uint16 => file.into_vec::<u16>()?.into(),
        ElementType::Uint32 => file.into_vec::<u32>()?.into(),
        ElementType::Uint64 => file.into_vec::<u64>()?.into(),
        ElementType::Float16 => file.into_vec::<f16>()?.into(),
        ElementType::Float32 => file.into_vec::<f32>()?.into(),
        ElementType::Float64 => file.into_vec::<f64>()?.into(),
        // numpy has no bfloat16, and its strings are of fixed width.
        ElementType::BFloat16 | ElementType::String => {
            return Err(std::io::ErrorKind::Unsupported.into());
        }
    })
}

/// numpy writes transposed arrays in the order of memory, column by column.
fn row_major(shape: &[usize], data: &TensorData) -> TensorData {
    let mut strides = vec![1; shape.len()];
    for axis in 1..shape.len() {
        strides[axis] = strides[axis - 1] * shape[axis - 1];
    }
    let position = |mut index: usize| {
        let mut from = 0;
        for axis in (0..shape.len()).rev() {
            from += (index % shape[axis]) * strides[axis];
            index /= shape[axis];
        }
        from
    };
    with_elements!(data, v => {
        let sorted: Vec<_> = (0..v.len()).filter_map(|index| v.get(position(index)).cloned()).collect();
        sorted.into()
    })
}

/// Whether numpy has such elements.
fn has_type_of(spec: &TensorSpec) -> bool {
    !matches!(
        spec.element_type,
        ElementType::BFloat16 | ElementType::String
    )
}

/// Whether a model answers with one tensor that numpy can hold.
fn answers(metadata: &ModelMetadata) -> bool {
    let signature = &metadata.signature;
    let [only] = metadata.default_outputs[..] else {
        return false;
    };
    let form = signature.declared.get(only).map(|output| output.form);
    match form {
        Some(OutputForm::Tensor(index)) => signature.outputs.get(index).is_some_and(has_type_of),
        _ => false,
    }
}

/// Writes the one output the model answers with.
///
/// # Errors
/// [`ScoreError::InvalidInput`] if there are several, or numpy has no such type.
fn answer(
    outputs: &[usize],
    metadata: &ModelMetadata,
    response: &InferenceResponse,
) -> Result<Encoded, ScoreError> {
    let tensor = output::only_tensor(metadata, outputs, response).ok_or_else(|| {
        let message = "npy holds one array, and the model does not answer with one tensor; choose one in model.toml";
        ScoreError::invalid("accept", message)
    })?;
    Ok(Encoded {
        body: write(tensor)?,
        content_type: CONTENT_TYPE,
        json_bytes: None,
    })
}

/// Writes one tensor.
///
/// # Errors
/// [`ScoreError::InvalidInput`] if numpy has no such type: the caller has to ask for JSON then.
fn write(tensor: &Tensor) -> Result<Vec<u8>, ScoreError> {
    let mut out = Vec::new();
    macro_rules! plain {
        ($($variant:ident),*) => {
            match tensor.data() {
                $(TensorData::$variant(v) => write_elements(&mut out, tensor.shape(), v),)*
                TensorData::BFloat16(_) | TensorData::String(_) => {
                    Err(std::io::ErrorKind::Unsupported.into())
                }
            }
        };
    }
    let written = plain!(
        Bool, Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64, Float16, Float32, Float64
    );
    match written {
        Ok(()) => Ok(out),
        Err(_) => Err(ScoreError::invalid(
            "accept",
            format!(
                "an output of type {} cannot be written as npy; accept application/json",
                tensor.element_type()
            ),
        )),
    }
}

fn write_elements<T: npyz::AutoSerialize + Copy>(
    out: &mut Vec<u8>,
    shape: &[usize],
    elements: &[T],
) -> std::io::Result<()> {
    let shape: Vec<u64> = shape.iter().map(|n| *n as u64).collect();
    let mut writer = npyz::WriteOptions::<T>::new()
        .default_dtype()
        .shape(&shape)
        .writer(out)
        .begin_nd()?;
    writer.extend(elements.iter().copied())?;
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Unwatched;
    use score::Dim;

    fn signature(element_type: ElementType) -> ModelSignature {
        let input = TensorSpec {
            name: "x".into(),
            element_type,
            shape: Some(vec![Dim::Dynamic(None), Dim::Fixed(3)]),
        };
        ModelSignature::of_tensors(vec![input], vec![])
    }

    #[test]
    fn arrays_come_back_as_they_were_written() {
        let all = [
            TensorData::Float32(vec![1.5, -0.0, f32::MAX, 0.1, 2.0, 3.0]),
            TensorData::Float16(
                [0.5f32, 1.0, 2.0, 3.0, 4.0, 5.0]
                    .map(f16::from_f32)
                    .to_vec(),
            ),
            TensorData::Int64(vec![1, i64::MIN, i64::MAX, 4, 5, 6]),
            TensorData::Bool(vec![true, false, true, true, false, false]),
        ];
        for data in all {
            let signature = signature(data.element_type());
            let tensor = Tensor::new(vec![2, 3], data).unwrap();
            let body = write(&tensor).unwrap();
            let read = read(&body, &signature, None, &Unwatched).unwrap();
            assert_eq!(read[0].tensor, tensor);
        }
    }

    #[test]
    fn numbers_of_other_types_become_the_inputs() {
        let expected = TensorData::Float32(vec![0.5, 2.0, 3.0]);
        for data in [
            TensorData::Float64(vec![0.5, 2.0, 3.0]),
            TensorData::Float16([0.5f32, 2.0, 3.0].map(f16::from_f32).to_vec()),
        ] {
            let body = write(&Tensor::new(vec![1, 3], data).unwrap()).unwrap();
            let read = read(&body, &signature(ElementType::Float32), None, &Unwatched).unwrap();
            assert_eq!(read[0].tensor.data(), &expected);
        }
        // As a machine of the other byte order writes it.
        let dtype = npyz::DType::Plain(">i2".parse().unwrap());
        let mut body = Vec::new();
        let options = npyz::WriteOptions::<i16>::new().dtype(dtype).shape(&[1, 3]);
        let mut writer = options.writer(&mut body).begin_nd().unwrap();
        writer.extend([1i16, 2, -3]).unwrap();
        writer.finish().unwrap();
        let read = read(&body, &signature(ElementType::Int64), None, &Unwatched).unwrap();
        assert_eq!(read[0].tensor.data(), &TensorData::Int64(vec![1, 2, -3]));
    }

    #[test]
    fn no_header_takes_long() {
        for unit in ["[", "{", "{'a':", "(", "1+", "-", "'"] {
            let header = unit.repeat(9_000 / unit.len());
            let mut body = b"\x93NUMPY\x01\x00".to_vec();
            body.extend((header.len() as u16).to_le_bytes());
            body.extend(header.as_bytes());
            let start = std::time::Instant::now();
            assert!(
                read(&body, &signature(ElementType::Float32), None, &Unwatched).is_err(),
                "{unit}"
            );
            assert!(start.elapsed().as_secs() < 5, "{unit}");
        }
    }

    #[test]
    fn columns_first_is_put_in_order() {
        let mut body = Vec::new();
        let mut writer = npyz::WriteOptions::<f32>::new()
            .default_dtype()
            .shape(&[2, 3])
            .order(Order::Fortran)
            .writer(&mut body)
            .begin_nd()
            .unwrap();
        writer.extend([1.0, 4.0, 2.0, 5.0, 3.0, 6.0]).unwrap();
        writer.finish().unwrap();
        let read = read(&body, &signature(ElementType::Float32), None, &Unwatched).unwrap();
        let expected = TensorData::Float32(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(read[0].tensor.data(), &expected);
    }

    #[test]
    fn other_types_shapes_and_rubbish_are_refused() {
        let tensor = Tensor::new(vec![1, 3], TensorData::Bool(vec![true; 3])).unwrap();
        let body = write(&tensor).unwrap();
        let refused = |body: &[u8]| {
            let outcome = read(body, &signature(ElementType::Float32), None, &Unwatched);
            outcome.unwrap_err().to_string()
        };
        assert!(refused(&body).contains("|b1"), "{}", refused(&body));
        assert!(refused(&body).contains(".astype(\"float32\")"));
        assert!(refused(b"\x93NUMPY rubbish").contains("not an npy file"));
    }

    /// What numpy 2 writes of `numpy.array(["ä", "b"])` and of the same with `dtype=object`, whose pickle is cut off here.
    #[test]
    fn texts_are_refused_with_the_formats_that_carry_them() {
        for descr in ["<U1", "|O", "|S2"] {
            let header =
                format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (1, 3), }}\n");
            let mut body = b"\x93NUMPY\x01\x00".to_vec();
            body.extend((header.len() as u16).to_le_bytes());
            body.extend(header.as_bytes());
            body.extend([0; 24]);
            let refused = read(&body, &signature(ElementType::String), None, &Unwatched);
            let refused = refused.unwrap_err().to_string();
            assert!(
                refused.contains("carries no texts: send them as JSON"),
                "{refused}"
            );
            assert!(!refused.contains("astype"), "{refused}");
        }
    }

    /// Two arrays that `numpy.save` wrote into one file, a line feed at its end, and a download that was cut.
    #[test]
    fn a_file_that_is_longer_or_shorter_than_its_array_is_refused() {
        let tensor = Tensor::new(vec![1, 3], TensorData::Float32(vec![1.0; 3])).unwrap();
        let file = write(&tensor).unwrap();
        let signature = signature(ElementType::Float32);
        assert!(read(&file, &signature, None, &Unwatched).is_ok());
        let refused = |body: &[u8]| {
            read(body, &signature, None, &Unwatched)
                .unwrap_err()
                .to_string()
        };
        let twice = refused(&[&*file, &*file].concat());
        let expected = format!("found {} more bytes; send one array", file.len());
        assert!(twice.contains(&expected), "{twice}");
        assert!(refused(&[&*file, b"\n"].concat()).contains("found 1 more bytes"));
        for length in file.len() - 12..file.len() {
            let cut = refused(&file[..length]);
            assert!(cut.contains("the file is cut"), "{length}: {cut}");
        }
        assert!(read(&[], &signature, None, &Unwatched).is_err());
    }
}
