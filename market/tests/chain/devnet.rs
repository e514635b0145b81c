//! A chain for one test.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// Seconds between blocks. Randomness comes with blocks, so there must be some without transactions.
const BLOCK_TIME: &str = "1";

/// What an arbitrator says; the numbers are those of the contract.
pub const EXECUTED: u8 = 1;
pub const CLIENT_RIGHT: u8 = 2;
pub const CLIENT_WRONG: u8 = 3;

/// Selectors of functions of the token.
pub const PERMIT: &str = "d505accf";
pub const DOMAIN_SEPARATOR: &str = "3644e515";
const DECIMALS: &str = "313ce567";

/// Where the arbitrator lies that says what a test wants.
const ARBITRATOR: &str = "0x00000000000000000000000000000000000a4b17";

/// anvil, with the market on it.
pub struct Devnet {
    anvil: Child,
    pub address: String,
    pub market: String,
    pub committee: String,
    pub token: String,
}

/// A program of this workspace, which lies beside `fedmkt`.
pub fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_fedmkt")).with_file_name(name)
}

/// Says that a test was skipped. Not by `eprintln!`, which the test harness keeps to itself.
pub fn skipped(test: &str, why: &str) {
    let message = format!("\nSKIPPED {test}: {why}\n");
    io::stderr().write_all(message.as_bytes()).expect("standard error");
}

impl Devnet {
    /// `None`, said loudly, when something is missing.
    pub fn start(test: &str) -> Option<Self> {
        let anvil = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contracts/node_modules/.bin/anvil");
        if !anvil.is_file() {
            skipped(test, "there is no anvil; `cargo xtask setup` installs it");
            return None;
        }
        if !program("fedmkt-run").is_file() {
            skipped(test, "fedmkt-run is not built; `cargo build --workspace` builds it");
            return None;
        }
        let mut anvil = Command::new(anvil)
            .args(["--port", "0", "--block-time", BLOCK_TIME, "--hardfork", "prague"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("anvil starts");
        let mut lines = BufReader::new(anvil.stdout.take().expect("piped"));
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(lines.read_line(&mut line).expect("anvil talks") > 0, "anvil ended");
            if let Some(address) = line.trim().strip_prefix("Listening on ") {
                break address.to_owned();
            }
        };
        // Whoever stops reading stops anvil.
        std::thread::spawn(move || io::copy(&mut lines, &mut io::sink()));
        let mut net = Self { anvil, address, market: String::new(), committee: String::new(), token: String::new() };
        let deployed = net.fedmkt_devnet(&[]);
        let text = |name: &str| deployed[name].as_str().expect("an address").to_owned();
        (net.market, net.committee, net.token) = (text("market"), text("committee"), text("token"));
        Some(net)
    }

    /// Runs `fedmkt devnet`, which deploys, or gives `accounts` coins and tokens of another deployment.
    fn fedmkt_devnet(&self, arguments: &[&str]) -> Value {
        let home = tempfile::tempdir().expect("a folder");
        let said = Command::new(program("fedmkt"))
            .args(["devnet", "--rpc", &self.url()])
            .args(arguments)
            .env("FEDMKT_HOME", home.path())
            .output()
            .expect("fedmkt runs");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        serde_json::from_slice(&said.stdout).expect("an object")
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Gives an account a coin, and tokens (in smallest units).
    pub fn fund(&self, account: &str, tokens: u128) {
        self.ask("anvil_setBalance", json!([account, "0xde0b6b3a7640000"]));
        let from = self.ask("eth_accounts", json!([]))[0].clone();
        // mint(address,uint256)
        let data = format!("0x40c10f19{:0>64}{tokens:064x}", account.trim_start_matches("0x").to_lowercase());
        let hash = self.ask("eth_sendTransaction", json!([{ "from": from, "to": self.token, "data": data }]));
        self.ask("evm_mine", json!([]));
        assert_eq!(self.ask("eth_getTransactionReceipt", json!([hash]))["status"], "0x1");
    }

    /// Puts a contract on the chain that answers every question with what [`Self::rule`] has said last.
    pub fn scripted_arbitrator(&self) -> String {
        // Whatever is called, it gives two words of its storage, the verdict and a state:
        // mstore(0, sload(0)) mstore(32, sload(1)) return(0, 64)
        self.ask("anvil_setCode", json!([ARBITRATOR, "0x60005460005260015460205260406000f3"]));
        ARBITRATOR.to_owned()
    }

    /// The arbitrator's answer from now on.
    pub fn rule(&self, verdict: u8, state_out: [u8; 32]) {
        let state: String = state_out.iter().map(|byte| format!("{byte:02x}")).collect();
        for (place, value) in [(0, format!("0x{verdict:064x}")), (1, format!("0x{state}"))] {
            self.ask("anvil_setStorageAt", json!([ARBITRATOR, format!("0x{place:064x}"), value]));
        }
    }

    /// How many transactions an account has sent.
    pub fn nonce(&self, account: &str) -> u64 {
        let nonce = self.ask("eth_getTransactionCount", json!([account, "latest"]));
        let nonce = nonce.as_str().expect("a number").trim_start_matches("0x").to_owned();
        u64::from_str_radix(&nonce, 16).expect("a number")
    }

    /// All transactions that wait for a block.
    pub fn waiting(&self) -> Vec<Value> {
        let pool = self.ask("txpool_content", json!([]));
        let accounts = pool["pending"].as_object().expect("accounts").values();
        accounts.flat_map(|sent| sent.as_object().expect("nonces").values()).cloned().collect()
    }

    /// What an account has of the token.
    pub fn tokens(&self, account: &str) -> u128 {
        let data = format!("0x70a08231{:0>64}", account.trim_start_matches("0x").to_lowercase());
        let balance = self.ask("eth_call", json!([{ "to": self.token, "data": data }, "latest"]));
        let balance = balance.as_str().expect("a number").trim_start_matches("0x").to_owned();
        u128::from_str_radix(&balance, 16).expect("a number")
    }

    /// From now on the token is one in which these functions, named by their selectors, are missing.
    pub fn use_token_without(&mut self, functions: &[&str]) {
        let mut code = self.ask("eth_getCode", json!([self.token, "latest"])).as_str().expect("code").to_owned();
        for function in functions {
            let found = format!("63{function}");
            assert_eq!(code.matches(&found).count(), 1, "{function} is compared with in one place");
            // The next number: the others are still found by it being more or less.
            let other = u32::from_str_radix(function, 16).expect("a selector") - 1;
            code = code.replace(&found, &format!("63{other:08x}"));
        }
        self.token = format!("0x{:038x}{:02x}", 0x70cu32, functions.len());
        self.ask("anvil_setCode", json!([self.token, code]));
    }

    /// From now on the token is one that says that it has so many decimals, and is the other one in everything else.
    pub fn use_token_with_decimals(&mut self, decimals: u8) {
        // calldataload(0) >> 224 == decimals() ? return decimals : delegatecall the other one with all that was said
        let code = format!(
            "0x60003560e01c63{DECIMALS}1460455736600060003760006000366000\
             73{}5af43d600060003e604057\
             3d6000fd5b3d6000f35b60{decimals:02x}60005260206000f3",
            self.token.trim_start_matches("0x").to_lowercase()
        );
        self.token = format!("0x{:038x}{decimals:02x}", 0xdecu32);
        self.ask("anvil_setCode", json!([self.token, code]));
    }

    /// From now on the chain has the hashes of the last 256 blocks only, as chains without EIP-2935.
    pub fn forget_old_blocks(&self) {
        self.ask("anvil_setCode", json!(["0x0000F90827F1C53a10cb7A02335B175320002935", "0x"]));
    }

    /// Lets the chain's time pass.
    pub fn wait(&self, seconds: u64) {
        self.ask("evm_increaseTime", json!([seconds]));
        self.ask("evm_mine", json!([]));
    }

    /// Asks the node.
    pub fn ask(&self, method: &str, parameters: Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": parameters }).to_string();
        let mut stream = TcpStream::connect(&self.address).expect("anvil is there");
        let head = format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let body = answer.split_once("\r\n\r\n").expect("a body").1;
        let answer: Value = serde_json::from_str(body).expect("JSON");
        assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
        answer["result"].clone()
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        let _ = self.anvil.kill();
        let _ = self.anvil.wait();
    }
}
