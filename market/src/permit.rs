//! Allowances by signature (EIP-2612), so that paying into the market takes one transaction instead of two.
//!
//! What is signed names the token by the address that the person gave and the chain that was checked, never by what the
//! token says of itself: the signature is good for nothing but an allowance for the market, of this amount, in this token.
//! Whether the token takes it is not known before it was tried; so callers try the whole call first.

use alloy::primitives::{Address, B256, U256};
use alloy::signers::SignerSync;
use alloy::sol_types::{Eip712Domain, SolStruct};
use fedmkt_contracts::dev_token::DevToken::eip712DomainReturn;

use crate::chain::Chain;
use crate::send::Sender;

/// How long a signature holds, in seconds: as long as a transaction may have to wait for a block.
const TIME: u64 = 24 * 3600;

/// Which fields of a domain a token has, as EIP-5267 numbers them: name, version, chain, contract, and no salt.
const FIELDS: u8 = 0b0_1111;

/// What tokens say that have a version, but not EIP-5267.
#[allow(missing_docs)]
mod versioned {
    alloy::sol! {
        #[sol(rpc)]
        interface Versioned {
            function version() external view returns (string);
        }
    }
}

#[allow(missing_docs)]
mod signed {
    alloy::sol! {
        struct Permit {
            address owner;
            address spender;
            uint256 value;
            uint256 nonce;
            uint256 deadline;
        }
    }
}

/// The call of the market that brings a signature for `amount` to the token. `None` if the token has no permit, or one of
/// another form.
///
/// # Errors
/// When the node does not answer, or the key does not sign.
pub fn call(sender: &Sender<'_>, token: Address, amount: U256) -> anyhow::Result<Option<Vec<u8>>> {
    let chain = sender.chain;
    let Some(domain) = domain(chain, token) else { return Ok(None) };
    let Ok(nonce) = chain.call(chain.token_contract(token).nonces(sender.address())) else { return Ok(None) };
    let deadline = U256::from(chain.latest()?.time + TIME);
    let (owner, spender) = (sender.address(), chain.market);
    let permit = signed::Permit { owner, spender, value: amount, nonce, deadline };
    let signature = sender.key.sign_hash_sync(&permit.eip712_signing_hash(&domain))?;
    let (v, r, s) = (27 + u8::from(signature.v()), B256::from(signature.r()), B256::from(signature.s()));
    Ok(Some(chain.market().permit(token, amount, deadline, v, r, s).calldata().to_vec()))
}

/// The token's domain, if it is one in which permits for this token on this chain are signed.
fn domain(chain: &Chain, token: Address) -> Option<Eip712Domain> {
    let contract = chain.token_contract(token);
    let separator = chain.call(contract.DOMAIN_SEPARATOR()).ok()?;
    let named = |name: String, version: String| {
        Eip712Domain::new(Some(name.into()), Some(version.into()), Some(U256::from(chain.id)), Some(token), None)
    };
    let domains = match chain.call(contract.eip712Domain()) {
        Ok(eip712DomainReturn { fields, name, version, .. }) if fields.0 == [FIELDS] => vec![named(name, version)],
        Ok(_) => return None,
        Err(_) => {
            let name = chain.call(contract.name()).ok()?;
            let own = chain.call(versioned::Versioned::new(token, chain.node()).version());
            own.into_iter().chain(["1".to_owned()]).map(|version| named(name.clone(), version)).collect()
        }
    };
    domains.into_iter().find(|domain| domain.separator() == separator)
}
