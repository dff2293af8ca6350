//! The handler's process: its log lines with the host's levels, its signals and its end.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How the host classes a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Level {
    /// From stdout.
    Information,
    /// From stderr, with "warn" in it.
    Warning,
    /// From stderr.
    Error,
    /// Marked for the host's own log.
    System,
    /// Marked for tools.
    Tooling,
}

/// One line of stdout or stderr.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// By the host's rules.
    pub level: Level,
    /// Without the mark of a system line.
    pub text: String,
    /// Written to stderr.
    pub is_stderr: bool,
    /// When it was read.
    pub at: Instant,
}

/// Lines of one or more processes, in the order in which they were read.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<LogLine>>>);

impl Log {
    /// All lines so far.
    pub fn lines(&self) -> Vec<LogLine> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn push(&self, text: &str, is_stderr: bool) {
        let (level, text) = classify(text, is_stderr);
        let line = LogLine {
            level,
            text: text.to_owned(),
            is_stderr,
            at: Instant::now(),
        };
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }
}

fn classify(text: &str, is_stderr: bool) -> (Level, &str) {
    if let Some(rest) = text.strip_prefix("LanguageWorkerConsoleLog") {
        return (Level::System, rest);
    }
    if text.starts_with("azfuncjsonlog:") {
        return (Level::Tooling, text);
    }
    let level = match is_stderr {
        false => Level::Information,
        true if text.to_ascii_lowercase().contains("warn") => Level::Warning,
        true => Level::Error,
    };
    (level, text)
}

/// How a process is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Program and arguments.
    pub command: Vec<String>,
    /// All of its environment.
    pub environment: Vec<(String, String)>,
    /// Working directory.
    pub directory: std::path::PathBuf,
    /// Put a parent in between that can be killed.
    pub has_parent: bool,
}

/// A running or ended process; killed and reaped when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Of the program itself, also if it has a parent in between.
    pid: Pid,
    readers: Vec<JoinHandle<()>>,
    /// When it was started.
    pub started: Instant,
}

impl Process {
    /// Starts it; its lines go to `log`.
    ///
    /// # Errors
    ///
    /// If the program cannot be started.
    pub fn start(launch: &Launch, log: &Log) -> std::io::Result<Self> {
        let pid_file = tempfile::NamedTempFile::new()?;
        let mut command = command(launch, pid_file.path());
        let started = Instant::now();
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().map(|pipe| read_lines(pipe, false, log));
        let stderr = child.stderr.take().map(|pipe| read_lines(pipe, true, log));
        let pid = match launch.has_parent {
            false => child.id() as i32,
            true => read_pid(pid_file.path()),
        };
        Ok(Self {
            child,
            pid: Pid::from_raw(pid),
            readers: stdout.into_iter().chain(stderr).collect(),
            started,
        })
    }

    /// Process id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Sends a signal, unless the process has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            let _ = kill(self.pid, signal);
        }
    }

    /// Exit code or signal, if it has ended.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        if self.is_own_child() {
            return self.exit_status().is_none();
        }
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid));
        let state = stat
            .ok()
            .and_then(|stat| stat.rsplit(')').next()?.trim().chars().next());
        // a zombie waits for its new parent only
        state.is_some_and(|state| state != 'Z')
    }

    /// Kills the parent in between, as if the host had crashed.
    pub fn kill_parent(&mut self) {
        assert!(!self.is_own_child(), "started without a parent in between");
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        if !self.is_own_child() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }

    /// Whether all it wrote has been read, which holds soon after its end.
    pub fn has_read_all(&self) -> bool {
        self.readers.iter().all(JoinHandle::is_finished)
    }

    fn is_own_child(&self) -> bool {
        self.child.id() as i32 == self.pid()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn command(launch: &Launch, pid_file: &Path) -> Command {
    let mut command = match launch.has_parent {
        false => Command::new(&launch.command[0]),
        true => {
            let mut shell = Command::new("/bin/sh");
            let script = r#"file="$1"; shift; "$@" & echo $! > "$file"; wait"#;
            shell
                .args(["-c", script, "sh"])
                .arg(pid_file)
                .arg(&launch.command[0]);
            shell
        }
    };
    command
        .args(&launch.command[1..])
        .env_clear()
        .envs(launch.environment.iter().cloned())
        .current_dir(&launch.directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // a group of its own, so that Ctrl-C in a terminal reaches the test first
        .process_group(0);
    command
}

fn read_pid(file: &Path) -> i32 {
    for _ in 0..1000 {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if let Some(pid) = text.strip_suffix('\n').and_then(|text| text.parse().ok()) {
            return pid;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("the shell between did not start the program");
}

fn read_lines(pipe: impl Read + Send + 'static, is_stderr: bool, log: &Log) -> JoinHandle<()> {
    let log = log.clone();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(count) if count > 0) {
            let text = String::from_utf8_lossy(&line);
            log.push(text.trim_end_matches(['\r', '\n']), is_stderr);
            line.clear();
        }
    })
}

/// The most memory that a process has had so far, in bytes; `None` if it does not run any more.
pub fn peak_memory(pid: i32) -> Option<usize> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[test]
    fn lines_get_the_hosts_levels() {
        assert_eq!(
            classify("an error", false),
            (Level::Information, "an error")
        );
        assert_eq!(classify("a Warning", true), (Level::Warning, "a Warning"));
        assert_eq!(
            classify("anything else", true),
            (Level::Error, "anything else")
        );
        assert_eq!(
            classify("LanguageWorkerConsoleLogx", true),
            (Level::System, "x")
        );
        assert_eq!(
            classify("azfuncjsonlog:{}", false),
            (Level::Tooling, "azfuncjsonlog:{}")
        );
    }

    fn shell(script: &str, has_parent: bool) -> Launch {
        Launch {
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
            directory: "/".into(),
            has_parent,
        }
    }

    async fn ended(process: &mut Process) -> ExitStatus {
        loop {
            if let Some(status) = process.exit_status().filter(|_| process.has_read_all()) {
                return status;
            }
            sleep(Duration::from_millis(2)).await;
        }
    }

    #[tokio::test]
    async fn output_and_exit_code_are_kept() {
        let log = Log::default();
        let mut process = Process::start(
            &shell("echo out; echo err >&2; printf part; exit 3", false),
            &log,
        )
        .unwrap();
        assert_eq!(ended(&mut process).await.code(), Some(3));
        let mut texts: Vec<String> = log.lines().into_iter().map(|line| line.text).collect();
        texts.sort();
        assert_eq!(texts, ["err", "out", "part"]);
    }

    #[tokio::test]
    async fn an_orphan_is_seen_and_ended() {
        let log = Log::default();
        let mut process = Process::start(&shell("while :; do sleep 1; done", true), &log).unwrap();
        assert!(process.is_running());
        process.kill_parent();
        assert!(process.is_running());
        process.kill();
        for _ in 0..500 {
            if !process.is_running() {
                return;
            }
            sleep(Duration::from_millis(2)).await;
        }
        panic!("still running");
    }
}
