//! Calls to the daemon of a real pm2, over its socket `rpc.sock`.
//!
//! Owns the frames (AMP: a byte with the number of arguments, then each with its length in 32 bits) and the
//! few calls that moving apps needs. Invariant: no answer is waited for without an end.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::failure::{Code, Failure};

/// Longest time that pm2 may take to answer: it answers a stop when the app is down.
const PATIENCE: Duration = Duration::from_secs(60);
/// Largest answer: the list with every environment of a thousand processes.
const LARGEST: usize = 256 << 20;

/// A connection to pm2's daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    path: PathBuf,
    stream: UnixStream,
    calls: u32,
}

impl Daemon {
    /// Connects to the daemon of this home of pm2.
    pub(crate) fn of(home: &Path) -> Result<Self, Failure> {
        let path = home.join("rpc.sock");
        let connected = UnixStream::connect(&path).and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        });
        let stream = connected.map_err(|cause| {
            Failure::new(Code::Unreachable, format!("no pm2 answers on {}: {cause}", path.display()))
                .exiting(wpm_proto::ExitCode::Failed)
                .help("PM2_HOME says which home is meant; `wpm import` without --running reads its dump.pm2")
        })?;
        Ok(Self { path, stream, calls: 0 })
    }

    /// The processes, as `jlist` has them.
    pub(crate) fn processes(&mut self) -> Result<Vec<Map<String, Value>>, Failure> {
        let list = self.call("getMonitorData", &json!({}))?;
        let Value::Array(list) = list else { return Err(self.failed("getMonitorData", "no list")) };
        let env = |mut entry: Value| entry.get_mut("pm2_env")?.as_object_mut().map(std::mem::take);
        Ok(list.into_iter().filter_map(env).collect())
    }

    /// Stops a process.
    pub(crate) fn stop(&mut self, id: u64) -> Result<(), Failure> {
        self.call("stopProcessId", &json!(id)).map(drop)
    }

    /// Starts a process that was stopped.
    pub(crate) fn restart(&mut self, id: u64) -> Result<(), Failure> {
        self.call("restartProcessId", &json!({ "id": id })).map(drop)
    }

    /// Takes a process off the list.
    pub(crate) fn delete(&mut self, id: u64) -> Result<(), Failure> {
        self.call("deleteProcessId", &json!(id)).map(drop)
    }

    fn call(&mut self, method: &str, argument: &Value) -> Result<Value, Failure> {
        self.calls += 1;
        let id = format!("{}:{}", std::process::id(), self.calls);
        let call = json!({ "type": "call", "method": method, "args": [argument] });
        let sent = self.stream.write_all(&frame(&[format!("j:{call}"), format!("s:{id}")]));
        sent.map_err(|cause| self.failed(method, &cause.to_string()))?;
        loop {
            let arguments =
                read_frame(&mut self.stream).map_err(|cause| self.failed(method, &cause.to_string()))?;
            let [answer, to] = arguments.as_slice() else { continue };
            if to.strip_prefix("s:") != Some(&id) {
                continue;
            }
            let answer: Value = answer
                .strip_prefix("j:")
                .and_then(|text| serde_json::from_str(text).ok())
                .ok_or_else(|| self.failed(method, "the answer is no JSON"))?;
            if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
                let error = error.as_str().map_or_else(|| error.to_string(), str::to_owned);
                return Err(self.failed(method, &error));
            }
            return Ok(answer.get("args").and_then(|args| args.get(0)).cloned().unwrap_or(Value::Null));
        }
    }

    fn failed(&self, method: &str, why: &str) -> Failure {
        Failure::new(Code::Failed, format!("pm2 on {} did not do `{method}`: {why}", self.path.display()))
    }
}

fn frame(arguments: &[String]) -> Vec<u8> {
    let mut bytes = vec![0x10 | u8::try_from(arguments.len()).unwrap_or(0xf)];
    for argument in arguments {
        bytes.extend_from_slice(&u32::try_from(argument.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(argument.as_bytes());
    }
    bytes
}

fn read_frame(from: &mut impl Read) -> std::io::Result<Vec<String>> {
    let mut head = [0];
    from.read_exact(&mut head)?;
    let mut arguments = Vec::new();
    for _ in 0..head[0] & 0xf {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > LARGEST {
            return Err(std::io::Error::other(format!("an answer of {length} bytes")));
        }
        let mut bytes = vec![0; length];
        from.read_exact(&mut bytes)?;
        arguments.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back() {
        let arguments = ["j:{}".to_owned(), "s:1:2".to_owned(), String::new()];
        let bytes = frame(&arguments);
        assert_eq!(bytes[..6], [0x13, 0, 0, 0, 4, b'j']);
        assert_eq!(read_frame(&mut bytes.as_slice()).expect("whole"), arguments);
        assert!(read_frame(&mut &bytes[..7]).is_err());
        assert!(read_frame(&mut [0x11, 0xff, 0xff, 0xff, 0xff].as_slice()).is_err());
    }
}
