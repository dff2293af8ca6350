use ::base64::Engine;
use ::base64::prelude::BASE64_STANDARD;
use score::ElementType;

use super::*;
use crate::samples::spec;

const OBJECT: &str = r#"{"data": [[1, 2, "ä<&>"]]}"#;

fn advise(body: &[u8]) -> String {
    let x = spec("x", ElementType::Float32, &[-1, 3]);
    let signature = ModelSignature::of_tensors(vec![x], vec![]);
    advice(body, &signature).unwrap_or_default()
}

/// An element with one text record after another, the last of which ends it.
fn binary(name: &str, records: &[(u8, &[u8])]) -> Vec<u8> {
    let namespace = "http://schemas.microsoft.com/2003/10/Serialization/";
    let mut body = vec![0x40, name.len() as u8];
    body.extend(name.as_bytes());
    body.extend([0x08, namespace.len() as u8]);
    body.extend(namespace.as_bytes());
    for (record, content) in records {
        body.push(*record);
        let width = 1 << ((record - if name == "string" { 0x98 } else { 0x9e }) / 2);
        body.extend(&(content.len() as u64).to_le_bytes()[..width]);
        body.extend(*content);
    }
    body
}

#[test]
fn wrappings_of_queue_clients_are_taken_off() {
    let twice = serde_json::to_string(OBJECT).unwrap();
    let base64 = BASE64_STANDARD.encode(OBJECT);
    let broken = format!("{}\r\n{}\n", &base64[..20], &base64[20..]);
    let unpadded = base64.trim_end_matches('=');
    let xml = r#"<string xmlns="http://schemas.microsoft.com/2003/10/Serialization/">{"data": [[1, 2, "ä&lt;&amp;&gt;"]]}</string>"#;
    let declared = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n{xml}\n");
    let object = OBJECT.as_bytes();
    let (start, end) = object.split_at(24);
    let utf16 = |mark: &str| -> Vec<u8> {
        let text = format!("{mark}{OBJECT}");
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    };
    // As PowerShell makes base64 of a text or a file.
    for inner in [
        format!("\u{feff}{OBJECT}").into_bytes(),
        utf16(""),
        utf16("\u{feff}"),
    ] {
        assert_eq!(
            unwrap(BASE64_STANDARD.encode(&inner).as_bytes()),
            Some(inner)
        );
    }
    for body in [
        twice.as_bytes(),
        base64.as_bytes(),
        broken.as_bytes(),
        unpadded.as_bytes(),
        xml.as_bytes(),
        declared.as_bytes(),
        &binary("string", &[(0x99, object)]),
        &binary("string", &[(0x9a, start), (0x9d, end)]),
        &[&binary("string", &[(0x98, object)])[..], b"\x01"].concat(),
        // Bytes travel in groups of three, and the rest behind them.
        &binary("base64Binary", &[(0x9e, start), (0x9f, end)]),
        &binary("base64Binary", &[(0xa0, start), (0xa3, end)]),
    ] {
        let unwrapped = unwrap(body).unwrap_or_default();
        assert_eq!(
            String::from_utf8_lossy(&unwrapped),
            OBJECT,
            "{}",
            String::from_utf8_lossy(body)
        );
    }
}

#[test]
fn formats_with_a_signature_are_taken_out_of_base64() {
    for body in [
        &b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'}"[..],
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01",
        b"RIFF\x24\0\0\0WEBPVP8 ",
        b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xabVJ,IT\xb2R",
    ] {
        let mut lines = BASE64_STANDARD.encode(body);
        assert_eq!(unwrap(lines.as_bytes()).as_deref(), Some(body));
        lines.insert_str(16, "\r\n");
        assert_eq!(unwrap(lines.as_bytes()).as_deref(), Some(body));
        lines.insert(8, '!');
        assert_eq!(unwrap(lines.as_bytes()), None, "{lines}");
    }
}

#[test]
fn what_can_be_read_in_several_ways_stays_wrapped() {
    let cut = binary("string", &[(0x99, OBJECT.as_bytes())]);
    for body in [
        b"".as_slice(),
        OBJECT.as_bytes(),
        b"\"text\"",
        b"\"[1]\"",
        b"eyes",
        b"ewe",
        b"k05V",
        b"kilograms and litres",
        b"/9j/",
        b"Hello, world! Hello, world!",
        b"UklGRiQAAABXQVZFZm10IA==",
        b"<string>{}</string>",
        br#"<string xmlns="http://schemas.microsoft.com/2003/10/Serialization/">{}<!-- --></string>"#,
        br#"<string xmlns="http://schemas.microsoft.com/2003/10/Serialization/">&custom;</string>"#,
        &cut[..cut.len() - 1],
        &[&cut[..], b"x"].concat(),
        &binary("string", &[(0x98, OBJECT.as_bytes())]),
        b"@\x06string",
        b"@\xff",
    ] {
        assert_eq!(unwrap(body), None, "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn a_body_is_told_what_it_looks_like() {
    let twice = serde_json::to_string(OBJECT).unwrap();
    let floats: Vec<u8> = [0.0f32, 0.0, 0.0]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let odd = [&floats[..], b"\x01"].concat();
    let person = b"@\x06Person\x08\x2ahttp://schemas.datacontract.org/2004/07/Ns\x01";
    let cases: [(&[u8], &str); 26] = [
        (
            BASE64_STANDARD.encode(OBJECT).leak().as_bytes(),
            "in base64",
        ),
        (twice.leak().as_bytes(), "encoded twice"),
        (&binary("string", &[(0x99, b"{}")]), "BrokeredMessage"),
        (person, "BrokeredMessage"),
        (
            b"<Person xmlns=\"http://schemas.datacontract.org/2004/07/Ns\"/>",
            "BrokeredMessage",
        ),
        (b"<data><row>1</row></data>", "the body is XML"),
        (b"<!DOCTYPE html><html></html>", "HTML"),
        (
            b"--x\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\n1\r\n--x--",
            "multipart/form-data",
        ),
        (b"data=1&data=2", "urlencoded"),
        (b"data=System.Object%5B%5D", "urlencoded"),
        (b"data%5B0%5D%5B0%5D=1", "urlencoded"),
        (b"[object Object]", "JSON.stringify"),
        (b"b'eyJkYXRhIjogW1sxXV19'", "Python bytes"),
        (b"{'data': [[1, 2, 3]]}", "json.dumps"),
        (b"{data:[[1,2,3]]}", "without quotes, as when a shell"),
        (b"{data=[[1.0, 2.0, 3.0]]}", "Java map"),
        (b"'{\"data\":[[1,2,3]]}'", "cmd.exe"),
        (b"1,2,3\n4,5,6\n", "text/csv"),
        (b"1.5;2\n", "text/csv"),
        (&floats, "whole rows of input \"x\", float32 [?,3]"),
        (&odd, "13 bytes of binary data"),
        (b"\x80\x04\x95\x0b\x00", "pickle"),
        (b"PK\x03\x04\x14\x00", ".npz"),
        // Nothing to say that the reader would not say.
        (b"[[1,2,3]]", ""),
        (b"{\"data\": [[1,2,3]", ""),
        (b"hello", ""),
    ];
    for (body, said) in cases {
        let advice = advise(body);
        let fits = if said.is_empty() {
            advice.is_empty()
        } else {
            advice.contains(said)
        };
        assert!(fits, "{}: {advice}", String::from_utf8_lossy(body));
    }
}
