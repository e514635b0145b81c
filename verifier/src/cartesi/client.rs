//! A typed client of the server's JSON-RPC 2.0, as far as it is needed. The server is not trusted to answer sensibly.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fedmkt_core::roots::Hash;
use serde::Deserialize;
use serde_json::{Value, json};

use super::PROGRAM;
use crate::machine::Failure;
use crate::template::{LOG2_ROOT, MachineProof};

/// How long one answer may take: hashing a large machine takes seconds, running a slice less.
const PATIENCE: Duration = Duration::from_secs(600);

/// The most bytes of an answer.
const MOST_BYTES: u64 = 64 << 20;

/// A client of one server.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
    patience: Duration,
}

/// Why a machine stopped running.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the server's")]
pub enum BreakReason {
    Failed,
    Halted,
    YieldedManually,
    YieldedAutomatically,
    YieldedSoftly,
    ReachedTargetMcycle,
    ConsoleOutput,
    ConsoleInput,
    McycleOverflow,
}

#[derive(Deserialize)]
struct Answer {
    jsonrpc: String,
    id: Value,
    #[serde(default)]
    result: Option<Value>,
    #[serde(default)]
    error: Option<Error>,
}

#[derive(Deserialize)]
struct Error {
    message: String,
}

#[derive(Deserialize)]
struct RawProof {
    target_address: u64,
    log2_target_size: u32,
    target_hash: String,
    log2_root_size: u32,
    root_hash: String,
    sibling_hashes: Vec<String>,
}

impl Client {
    /// A client of the server at this address.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, patience: PATIENCE }
    }

    /// Waits no longer than this for an answer.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Calls a method, and gives its result.
    ///
    /// # Errors
    /// When the server cannot be reached, refuses, or does not answer as JSON-RPC says.
    pub fn call(&self, method: &'static str, params: &Value) -> Result<Value, Failure> {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let body = self.post(&request).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => Failure::Nonsense(format!("`{method}`: {error}")),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                Failure::Nonsense(format!("`{method}`: no answer within {} s", self.patience.as_secs()))
            }
            _ => Failure::Died { program: PROGRAM, how: format!("`{method}`: {error}"), said: String::new() },
        })?;
        let nonsense = |what: &str| Failure::Nonsense(format!("`{method}`: {what}"));
        let answer: Answer = serde_json::from_slice(&body).map_err(|error| nonsense(&error.to_string()))?;
        if answer.jsonrpc != "2.0" || answer.id != 1 {
            return Err(nonsense("the answer is to another question"));
        }
        match (answer.result, answer.error) {
            (_, Some(error)) => Err(Failure::Refused { method, message: error.message }),
            (Some(result), None) => Ok(result),
            (None, None) => Err(nonsense("neither result nor error")),
        }
    }

    /// One HTTP request.
    fn post(&self, body: &str) -> io::Result<Vec<u8>> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_string());
        let stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(10))?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_nodelay(true)?;
        write!(
            &stream,
            "POST / HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            self.address,
            body.len()
        )?;
        let mut reader = BufReader::new(stream.take(MOST_BYTES));
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !line.starts_with("HTTP/1.1 200") {
            return Err(invalid(&format!("HTTP answer {:?}", line.trim_end())));
        }
        let mut length = None;
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            if !line.ends_with('\n') {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse::<usize>().ok().filter(|&length| length as u64 <= MOST_BYTES);
            }
        }
        let mut body = vec![0; length.ok_or_else(|| invalid("no length"))?];
        reader.read_exact(&mut body)?;
        Ok(body)
    }

    fn get<T: serde::de::DeserializeOwned>(&self, method: &'static str, params: &Value) -> Result<T, Failure> {
        serde_json::from_value(self.call(method, params)?)
            .map_err(|error| Failure::Nonsense(format!("`{method}`: {error}")))
    }

    fn done(&self, method: &'static str, params: &Value) -> Result<(), Failure> {
        match self.get::<bool>(method, params)? {
            true => Ok(()),
            false => Err(Failure::Nonsense(format!("`{method}` was not done"))),
        }
    }

    /// `marchid` of the machines that the server makes: 21 for the emulator's version 0.21.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn architecture(&self) -> Result<u64, Failure> {
        let config = self.call("machine.get_default_config", &json!({}))?;
        let found = config.pointer("/processor/registers/marchid").and_then(Value::as_u64);
        found.ok_or_else(|| Failure::Nonsense("`machine.get_default_config`: no marchid".into()))
    }

    /// Makes a machine.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn create(&self, config: &Value, runtime: &Value) -> Result<(), Failure> {
        self.done("machine.create", &json!({ "config": config, "runtime_config": runtime }))
    }

    /// Loads a stored machine; what it changes stays in memory.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn load(&self, folder: &std::path::Path, runtime: &Value) -> Result<(), Failure> {
        self.done("machine.load", &json!({ "directory": folder, "runtime_config": runtime, "sharing": "none" }))
    }

    /// Stores the machine, all of it, in a new folder.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn store(&self, folder: &std::path::Path) -> Result<(), Failure> {
        self.done("machine.store", &json!({ "directory": folder, "sharing": "all" }))
    }

    /// Ends the machine.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn destroy(&self) -> Result<(), Failure> {
        self.done("machine.destroy", &json!({}))
    }

    /// Puts a file in the place of a drive.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn replace(&self, start: u64, bytes: u64, file: &std::path::Path) -> Result<(), Failure> {
        let store = json!({ "data_filename": file });
        let range = json!({ "start": start, "length": bytes, "read_only": false, "backing_store": store });
        self.done("machine.replace_memory_range", &json!({ "range": range }))
    }

    /// Bytes of the machine's memory.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn read_memory(&self, address: u64, bytes: u64) -> Result<Vec<u8>, Failure> {
        const METHOD: &str = "machine.read_memory";
        let text: String = self.get(METHOD, &json!({ "address": address, "length": bytes }))?;
        // Long texts are broken into lines.
        let text: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        match STANDARD.decode(text) {
            Ok(found) if found.len() as u64 == bytes => Ok(found),
            _ => Err(Failure::Nonsense(format!("`{METHOD}`: not {bytes} bytes"))),
        }
    }

    /// Runs the machine until it has executed `end` cycles since its start, at most.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn run(&self, end: u64) -> Result<BreakReason, Failure> {
        self.get("machine.run", &json!({ "mcycle_end": end }))
    }

    /// The value of a register.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn register(&self, name: &str) -> Result<u64, Failure> {
        self.get("machine.read_reg", &json!({ "reg": name }))
    }

    /// Where a register lies.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn register_address(&self, name: &str) -> Result<u64, Failure> {
        self.get("machine.get_reg_address", &json!({ "reg": name }))
    }

    /// The hash of the whole machine.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn root_hash(&self) -> Result<Hash, Failure> {
        self.hash("machine.get_root_hash", &json!({}))
    }

    /// A node of the machine's hash tree.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn node_hash(&self, address: u64, log2_bytes: u32) -> Result<Hash, Failure> {
        self.hash("machine.get_node_hash", &json!({ "address": address, "log2_size": log2_bytes }))
    }

    /// A proof of a node of the machine's hash tree. It is verified here, against the root that comes with it.
    ///
    /// # Errors
    /// As [`Self::call`], and when the proof is wrong or of something else.
    pub fn proof(&self, address: u64, log2_bytes: u32) -> Result<MachineProof, Failure> {
        const METHOD: &str = "machine.get_proof";
        let params = json!({ "address": address, "log2_target_size": log2_bytes, "log2_root_size": LOG2_ROOT });
        let raw: RawProof = self.get(METHOD, &params)?;
        let siblings = raw.sibling_hashes.iter().map(|text| hash(METHOD, text)).collect::<Result<_, _>>()?;
        let proof = MachineProof {
            address: raw.target_address,
            log2_bytes: raw.log2_target_size,
            target: hash(METHOD, &raw.target_hash)?,
            siblings,
        };
        let asked = proof.address == address && proof.log2_bytes == log2_bytes && raw.log2_root_size == LOG2_ROOT;
        if asked && proof.root() == Some(hash(METHOD, &raw.root_hash)?) {
            Ok(proof)
        } else {
            Err(Failure::Nonsense(format!("`{METHOD}`: the proof does not prove what was asked")))
        }
    }

    /// Runs `cycles` cycles and writes to `file` what somebody needs to check them.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn log_step(&self, cycles: u64, file: &std::path::Path) -> Result<BreakReason, Failure> {
        self.get("machine.log_step", &json!({ "mcycle_count": cycles, "filename": file }))
    }

    /// The machine's hash after the cycles that a log shows, if it shows them from `before` on.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn verify_step(&self, before: &Hash, cycles: u64, file: &std::path::Path) -> Result<Hash, Failure> {
        let params = json!({ "root_hash_before": STANDARD.encode(before.0), "filename": file, "mcycle_count": cycles });
        self.hash("machine.verify_step", &params)
    }

    fn hash(&self, method: &'static str, params: &Value) -> Result<Hash, Failure> {
        hash(method, &self.get::<String>(method, params)?)
    }
}

/// The server writes a hash in Base64.
fn hash(method: &str, text: &str) -> Result<Hash, Failure> {
    let bytes = STANDARD.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.map(Hash).ok_or_else(|| Failure::Nonsense(format!("`{method}`: {text:?} is no hash")))
}
