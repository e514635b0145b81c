//! The last part of `cargo xtask demo`: the same job with a reward, on a chain of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::contracts as solidity;
use crate::demo::say;
use crate::process::{command, output, run, typed};
use crate::workspace::Workspace;

/// What the demo has made before: a job in the sponsor's store, and a client with a store that has it too.
pub struct Before<'a> {
    pub folder: &'a Path,
    pub job: &'a str,
    /// The client's data.
    pub data: &'a Path,
}

/// A node that ends with the demo.
struct Anvil {
    process: Child,
    url: String,
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Somebody with a home.
struct Party<'a> {
    workspace: &'a Workspace,
    name: &'static str,
    folder: &'a Path,
    rpc: String,
    market: String,
}

impl Party<'_> {
    fn program(&self, name: &str, arguments: &[&str]) -> Command {
        let mut program = self.plain(name, arguments);
        program.arg("--store").arg(self.folder.join(self.name).join("store"));
        program
    }

    /// A program that is not told which store to use.
    fn plain(&self, name: &str, arguments: &[&str]) -> Command {
        let folder = self.folder.join(self.name);
        let mut program = command(self.workspace, self.workspace.target().join("debug").join(name));
        program.args(arguments).stdin(Stdio::null());
        program.env("FEDMKT_HOME", folder.join("home")).env("FEDMKT_PASSPHRASE_FILE", folder.join("passphrase"));
        program.env("FEDMKT_WALLET_PASSWORD_FILE", folder.join("passphrase"));
        program.env("FEDMKT_RPC", &self.rpc).env("FEDMKT_CHAIN_ID", "31337").env("FEDMKT_CONFIRMATIONS", "1");
        program.env("FEDMKT_MARKET", &self.market);
        program
    }

    /// Runs a program, shows how it was called, and gives what it printed.
    fn says(&self, name: &str, arguments: &[&str]) -> Result<String> {
        let mut program = self.program(name, arguments);
        println!("   {}$ {}", self.name, typed(&program));
        // What people are told goes to standard error.
        let said = program.stderr(Stdio::inherit()).output().with_context(|| format!("starting {name}"))?;
        if !said.status.success() {
            bail!("`{}` failed ({})", typed(&program), said.status);
        }
        Ok(String::from_utf8(said.stdout)?.trim().to_owned())
    }

    /// What the verifier knows about everything that it has seen.
    fn status(&self, data: &str) -> Result<Value> {
        let said = output(&mut self.plain("fedmkt-verify", &["status", "--all", "--json", "--data", data]))?;
        Ok(serde_json::from_str(&said)?)
    }

    /// What the account has of the token, in smallest units.
    fn balance(&self, token: &str) -> Result<u128> {
        let said = output(&mut self.program("fedmkt", &["wallet", "balance", "--token", token, "--json"]))?;
        let object: Value = serde_json::from_str(&said)?;
        let units = object["tokens"][0]["balance"].as_str().context("`fedmkt wallet balance` gave no balance")?;
        Ok(units.parse()?)
    }
}

/// Posts the job with a reward, lets the client earn it, and shows what everybody has before and after.
///
/// # Errors
/// If the node cannot be started, a program fails, or somebody has not what is due.
pub fn run_market(workspace: &Workspace, before: &Before<'_>) -> Result<()> {
    solidity::install(workspace)?;
    let programs = workspace.root().join("contracts/node_modules/.bin");
    let anvil = start(workspace, &programs.join("anvil"))?;
    let party = |name| {
        let folder = before.folder;
        std::fs::create_dir_all(folder.join(name))?;
        let passphrase = folder.join(name).join("passphrase");
        // It protects keys that live as long as this demo.
        if !passphrase.is_file() {
            std::fs::write(&passphrase, format!("demo {}\n", std::process::id()))?;
        }
        Ok::<_, anyhow::Error>(Party { workspace, name, folder, rpc: anvil.url.clone(), market: String::new() })
    };
    let (mut sponsor, mut client) = (party("sponsor")?, party("client")?);
    let (mut cheat, mut verifier) = (party("cheat")?, party("verifier")?);
    let account = |party: &Party<'_>| output(&mut party.program("fedmkt", &["wallet", "new"]));
    let (sponsors, clients) = (account(&sponsor)?, account(&client)?);
    let (cheats, verifiers) = (account(&cheat)?, account(&verifier)?);
    let mut funded = vec!["devnet", "--rpc", &anvil.url];
    for account in [&sponsors, &clients, &cheats, &verifiers] {
        funded.extend(["--fund", account.trim()]);
    }
    let deployed: Value = serde_json::from_str(&output(&mut sponsor.program("fedmkt", &funded))?)?;
    let text = |name: &str| deployed[name].as_str().with_context(|| format!("`fedmkt devnet` gave no {name}"));
    let (token, committee) = (text("token")?, text("committee")?);
    sponsor.market = text("market")?.to_owned();
    for other in [&mut client, &mut cheat, &mut verifier] {
        other.market.clone_from(&sponsor.market);
    }
    let start = (sponsor.balance(token)?, client.balance(token)?);

    let offer = [
        "job",
        "post",
        before.job,
        "--reward",
        "100",
        "--token",
        token,
        "--arbitrator",
        committee,
        "--window",
        "1h",
        "--submit-time",
        "1h",
        "--move-time",
        "1h",
        "--yes",
    ];
    let begun = Instant::now();
    sponsor.says("fedmkt", &offer)?;
    println!("{}", client.says("fedmkt", &["job", "list"])?);
    // Programs that are not to ask need to know who may rule over a bond.
    client.says("fedmkt", &["config", "set", "arbitrators", committee])?;
    let grant = format!("data={}", before.data.display());
    let out = before.folder.join("client/paid-out");
    let out = out.to_str().context("the demo's folder has a name in UTF-8")?;
    let work = [before.job, "--grant", &grant, "--out", out, "--accept", "--submit", "--yes", "--json"];
    client.says("fedmkt-run", &work)?;
    println!("   (an hour passes on this chain, in which anybody could have challenged the result)");
    pass_an_hour(workspace, &anvil)?;
    println!("   {}", client.says("fedmkt", &["claim"])?);
    println!("   From the offer to the payment it took {} s.", begun.elapsed().as_secs());

    let end = (sponsor.balance(token)?, client.balance(token)?);
    let tokens = |units: u128| format!("{:>9}.{:02}", units / 10u128.pow(18), units / 10u128.pow(16) % 100);
    println!("   DEV           before         after");
    println!("   sponsor {} {}", tokens(start.0), tokens(end.0));
    println!("   client  {} {}", tokens(start.1), tokens(end.1));
    let reward = 100 * 10u128.pow(18);
    if end != (start.0 - reward, start.1 + reward) {
        bail!("the reward did not go from the sponsor to the client");
    }

    say(
        "11. A cheater",
        "Another client takes a slot, and submits a trace in which one state is not that of its run. A verifier watches the market: it \
         makes the run again, sees that something is wrong, and challenges. (It reads the cheater's blocks from a folder, as it would \
         from IPFS.) The cheater cannot show steps that lead to its state, says nothing, and loses its bond.",
    );
    let start = (cheat.balance(token)?, verifier.balance(token)?);
    sponsor.says("fedmkt", &[&offer[..], &["--again"]].concat())?;
    let archive = before.folder.join("job.car");
    cheat.says("fedmkt", &["store", "import", archive.to_str().context("a name in UTF-8")?])?;
    cheat.says("fedmkt", &["config", "set", "arbitrators", committee])?;
    let work = [before.job, "--grant", &grant, "--out", "-", "--accept", "--yes", "--json"];
    let out = before.folder.join("cheat/out");
    let work = work.map(|word| if word == "-" { out.to_str().unwrap_or(word) } else { word });
    let said = cheat.says("fedmkt-run", &work)?;
    let run: Value = serde_json::from_str(said.lines().last().unwrap_or_default())?;
    let receipt = run["receipt"].as_str().context("`fedmkt-run --json` gave no `receipt`")?;
    let slots: Value = serde_json::from_str(&output(&mut cheat.program("fedmkt", &["status", "--json"]))?)?;
    let slot = slots[0]["slot"].as_str().context("`fedmkt status` gave no slot")?.to_owned();
    let store = before.folder.join("cheat/store");
    let forged =
        output(command(workspace, workspace.target().join("debug/examples/false-leaf")).arg(&store).arg(receipt))?;
    cheat.says("fedmkt", &["submit", &slot, "--receipt", forged.trim()])?;

    let data = before.folder.join("verifier/watch");
    std::fs::create_dir_all(&data)?;
    // It puts up a bond only where it knows who decides.
    let policy = format!("[challenge]\narbitrators = [{committee:?}]\n");
    println!("   verifier's policy.toml: {}", policy.trim().replace('\n', " "));
    std::fs::write(data.join("policy.toml"), policy)?;
    let data = data.to_str().context("the demo's folder has a name in UTF-8")?;
    let mut watch = verifier.plain("fedmkt-verify", &["watch", "--data", data, "--pause", "1", "--log", "warn"]);
    watch.arg("--store").arg(&store);
    println!("   verifier$ {} &", typed(&watch));
    let _watch = Ends(watch.spawn().context("starting fedmkt-verify")?);
    until("the verifier challenges", || {
        // Until the verifier has begun there is nothing to be told.
        Ok(verifier.status(data).is_ok_and(|status| !status["challenges"][0].is_null()))
    })?;
    println!("   (an hour passes, in which the cheater should have shown the states of the level in dispute)");
    pass_an_hour(workspace, &anvil)?;
    until("the verifier is paid", || Ok(verifier.balance(token)? > start.1))?;
    let told = output(&mut verifier.plain("fedmkt-verify", &["explain", &slot, "--data", data]))?;
    told.lines().for_each(|line| println!("   {line}"));
    let end = (cheat.balance(token)?, verifier.balance(token)?);
    println!("   DEV           before         after");
    println!("   cheat   {} {}", tokens(start.0), tokens(end.0));
    println!("   verifier{} {}", tokens(start.1), tokens(end.1));
    if end.0 >= start.0 {
        bail!("the cheater has lost nothing");
    }
    Ok(())
}

/// A process that ends with this value.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets the chain's time pass.
fn pass_an_hour(workspace: &Workspace, anvil: &Anvil) -> Result<()> {
    let cast = workspace.root().join("contracts/node_modules/.bin/cast");
    run(command(workspace, &cast).args(["rpc", "--rpc-url", &anvil.url, "evm_increaseTime", "3601"]))?;
    run(command(workspace, &cast).args(["rpc", "--rpc-url", &anvil.url, "evm_mine"]))
}

/// Asks again and again until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    for _ in 0..600 {
        if is_so()? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    bail!("it did not come to this: {what}")
}

fn start(workspace: &Workspace, program: &Path) -> Result<Anvil> {
    let mut anvil = command(workspace, program);
    anvil.args(["--port", "0", "--block-time", "1", "--hardfork", "prague"]);
    let mut process = anvil.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("starting anvil")?;
    let mut lines = BufReader::new(process.stdout.take().context("piped")?);
    let mut anvil = Anvil { process, url: String::new() };
    let mut line = String::new();
    while anvil.url.is_empty() {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            bail!("anvil ended before it was there");
        }
        if let Some(address) = line.trim().strip_prefix("Listening on ") {
            anvil.url = format!("http://{address}");
        }
    }
    // Whoever stops reading stops anvil.
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    Ok(anvil)
}
