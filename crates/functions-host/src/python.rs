//! The Python programs of `tests/messaging`, with the packages that `scripts/setup-messaging.sh` installs.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use serde_json::Value;

use super::repository;

/// Longer than any request to an SDK takes, whose own limits are shorter.
const ANSWER_LIMIT: Duration = Duration::from_secs(100);

/// A program that reads lines and writes lines; killed when dropped.
#[derive(Debug)]
pub struct PythonProcess {
    script: &'static str,
    child: Child,
    lines: Mutex<Lines>,
}

#[derive(Debug)]
struct Lines {
    requests: ChildStdin,
    answers: mpsc::Receiver<String>,
}

impl PythonProcess {
    /// Starts `tests/messaging/<script>`.
    ///
    /// # Panics
    ///
    /// If its packages are not installed or there is no Python.
    pub fn start(script: &'static str, arguments: &[String]) -> Self {
        let mut child = Command::new("python3")
            .arg(repository().join("tests/messaging").join(script))
            .args(arguments)
            .env("PYTHONPATH", installed("python"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("python3: {error}"));
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, answers) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let requests = child.stdin.take().expect("piped");
        Self {
            script,
            child,
            lines: Mutex::new(Lines { requests, answers }),
        }
    }

    /// The next line that the program writes.
    ///
    /// # Panics
    ///
    /// If it ends first, or takes too long.
    pub fn read_line(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.read(self.script)
    }

    /// Has an operation done, whose result comes back.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub fn ask(&self, operation: &str, mut request: Value) -> Value {
        request["do"] = operation.into();
        let answer = tokio::task::block_in_place(|| {
            let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            writeln!(lines.requests, "{request}").expect("the program reads");
            lines.read(self.script)
        });
        let mut answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(answer.get("error"), None, "{}: {operation}", self.script);
        answer["ok"].take()
    }
}

impl Lines {
    fn read(&self, script: &str) -> String {
        let line = self.answers.recv_timeout(ANSWER_LIMIT);
        line.unwrap_or_else(|error| panic!("{script} does not answer: {error}"))
    }
}

impl Drop for PythonProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder of `target/messaging`.
///
/// # Panics
///
/// If it is not complete.
pub fn installed(folder: &str) -> PathBuf {
    let folder = repository().join("target/messaging").join(folder);
    assert!(
        folder.join(".installed").exists(),
        "{} is missing: run `scripts/setup-messaging.sh` first",
        folder.display()
    );
    folder
}

/// The text of a member, if it is one.
pub fn text(value: &Value, member: &str) -> Option<String> {
    value[member].as_str().map(str::to_owned)
}

/// The bytes of a member that is base64.
pub fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("base64");
    super::outputs::guess_base64(text).unwrap_or_else(|| panic!("not base64: {text}"))
}

/// A request with some members left out.
pub fn without_nulls(mut value: Value) -> Value {
    if let Some(members) = value.as_object_mut() {
        members.retain(|_, member| !member.is_null());
    }
    value
}
