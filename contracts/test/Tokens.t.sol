// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {Escrow} from "../src/Escrow.sol";
import {Kind, Verdict} from "../src/IArbitrator.sol";
import {Terms} from "../src/Jobs.sol";
import {Market} from "../src/Market.sol";
import {SlotState} from "../src/Slots.sol";
import {ChallengeId, Disclosure, JobId, Run, SlotId, StateRoot, Status} from "../src/Types.sol";
import {Imagined, Kit} from "./Kit.sol";
import {DevToken as Token} from "../src/dev/DevToken.sol";

/// Keeps a tenth of each transfer for itself.
contract FeeToken is Token {
    bool public greedy = true;

    function setGreedy(bool greedy_) external {
        greedy = greedy_;
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (greedy && from != address(0) && to != address(0)) super._update(to, address(this), value / 10);
    }
}

/// Delivers more than it was told to.
contract GenerousToken is Token {
    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (from != address(0)) super._update(address(0), to, 1);
    }
}

/// Says no instead of reverting.
contract FalseToken is Token {
    bool public refusing;

    function setRefusing(bool refusing_) external {
        refusing = refusing_;
    }

    function transfer(address to, uint256 value) public override returns (bool) {
        return !refusing && super.transfer(to, value);
    }

    function transferFrom(address from, address to, uint256 value) public override returns (bool) {
        return !refusing && super.transferFrom(from, to, value);
    }
}

/// Says yes and does nothing.
contract LyingToken is Token {
    function transferFrom(address, address, uint256) public pure override returns (bool) {
        return true;
    }
}

/// Says nothing, as some old tokens do.
contract SilentToken {
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;

    function mint(address to, uint256 value) external {
        balanceOf[to] += value;
    }

    function approve(address spender, uint256 value) external {
        allowance[msg.sender][spender] = value;
    }

    function transfer(address to, uint256 value) external {
        balanceOf[msg.sender] -= value;
        balanceOf[to] += value;
    }

    function transferFrom(address from, address to, uint256 value) external {
        allowance[from][msg.sender] -= value;
        balanceOf[from] -= value;
        balanceOf[to] += value;
    }
}

/// Takes from all balances, or gives to them.
contract RebasingToken is Token {
    uint256 public percent = 100;

    function rebase(uint256 percent_) external {
        percent = percent_;
    }

    function balanceOf(address account) public view override returns (uint256) {
        return super.balanceOf(account) * percent / 100;
    }
}

/// Refuses some receivers, and can be stopped.
contract StrictToken is Token {
    mapping(address => bool) public refused;
    bool public stopped;

    function refuse(address account) external {
        refused[account] = true;
    }

    function stop(bool stopped_) external {
        stopped = stopped_;
    }

    function _update(address from, address to, uint256 value) internal override {
        require(!stopped && !refused[from] && !refused[to], "refused");
        super._update(from, to, value);
    }
}

/// Takes every call for a deposit of nothing, `permit` as well, as some wrapped coins do.
contract WelcomingToken is SilentToken {
    fallback() external {}
}

/// Uses up all gas that a permit gets.
contract GreedyToken is SilentToken {
    function permit(address, address, uint256, uint256, uint8, bytes32, bytes32) external pure {
        while (true) {}
    }
}

/// Calls back during each transfer.
contract CallingToken is Token {
    address private _target;
    bytes private _call;
    bool public done;
    bytes public answer;

    function arm(address target, bytes calldata call) external {
        _target = target;
        _call = call;
    }

    function _update(address from, address to, uint256 value) internal override {
        address target = _target;
        if (target != address(0)) {
            _target = address(0);
            (done, answer) = target.call(_call);
        }
        super._update(from, to, value);
    }
}

/// Tokens that misbehave are refused, or harm nobody else.
contract TokensTest is Kit {
    function _use(Token other) private {
        token = other;
        _fund(other, sponsor);
        _fund(other, client);
        _fund(other, challenger);
        _fund(other, requester);
    }

    function test_FeesOnTransferAreRefusedAtPost() public {
        _use(new FeeToken());
        Terms memory terms = _terms(Disclosure.Open);
        vm.prank(sponsor);
        vm.expectRevert(
            abi.encodeWithSelector(Escrow.TokenDeliversOtherAmount.selector, token, 2 * R, 2 * R - 2 * R / 10)
        );
        market.post(terms);
    }

    function test_FeesThatBeginLaterAreRefusedToo() public {
        FeeToken fee = new FeeToken();
        fee.setGreedy(false);
        _use(fee);
        JobId job = _post(Disclosure.Open);
        fee.setGreedy(true);
        vm.expectRevert(abi.encodeWithSelector(Escrow.TokenDeliversOtherAmount.selector, token, B, B - B / 10));
        _accept(job);
    }

    function test_MoreThanTheAmountIsRefused() public {
        _use(new GenerousToken());
        Terms memory terms = _terms(Disclosure.Open);
        vm.prank(sponsor);
        vm.expectRevert(abi.encodeWithSelector(Escrow.TokenDeliversOtherAmount.selector, token, 2 * R, 2 * R + 1));
        market.post(terms);
    }

    function test_ATokenThatSaysNoIsHeard() public {
        FalseToken no = new FalseToken();
        _use(no);
        Imagined memory imagined = _submit(_post(Disclosure.Open));
        vm.prank(sponsor);
        market.approve(imagined.slot, imagined.run);
        no.setRefusing(true);
        vm.prank(client);
        vm.expectRevert(abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, token));
        market.withdraw(token, client);
        _checkOwed(0, R + B, 0, 0, 0, 0);
        Terms memory terms = _terms(Disclosure.Open);
        terms.nonce = "next";
        vm.prank(sponsor);
        vm.expectRevert(abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, token));
        market.post(terms);
        no.setRefusing(false);
        vm.prank(client);
        assertEq(market.withdraw(token, client), R + B, "withdrawn");
    }

    function test_ATokenThatLiesIsNotBelieved() public {
        _use(new LyingToken());
        Terms memory terms = _terms(Disclosure.Open);
        vm.prank(sponsor);
        vm.expectRevert(abi.encodeWithSelector(Escrow.TokenDeliversOtherAmount.selector, token, 2 * R, 0));
        market.post(terms);
    }

    function test_ATokenThatSaysNothingWorks() public {
        SilentToken silent = new SilentToken();
        silent.mint(sponsor, 1_000_000);
        silent.mint(client, 1_000_000);
        vm.prank(sponsor);
        silent.approve(address(market), type(uint256).max);
        vm.prank(client);
        silent.approve(address(market), type(uint256).max);
        Terms memory terms = _terms(Disclosure.Open);
        terms.token = IERC20(address(silent));
        JobId job = _post(terms);
        Imagined memory imagined = _submit(_accept(job), 5, Status.Done, RIGHT);
        vm.prank(sponsor);
        market.approve(imagined.slot, imagined.run);
        vm.prank(client);
        market.withdraw(IERC20(address(silent)), client);
        assertEq(silent.balanceOf(client), 1_000_000 + R, "balance");
    }

    function test_WhatIsNoTokenIsRefused() public {
        Terms memory terms = _terms(Disclosure.Open);
        terms.token = IERC20(address(0x1234));
        vm.prank(sponsor);
        vm.expectRevert();
        market.post(terms);
    }

    function test_ARebasingTokenHarmsItselfAlone() public {
        Token honest = token;
        JobId job = _post(Disclosure.Open);
        Imagined memory imagined = _submit(job);
        RebasingToken rebasing = new RebasingToken();
        _use(rebasing);
        JobId other = _post(Disclosure.Open);
        Imagined memory shrunk = _submit(_accept(other), 5, Status.Done, RIGHT);
        rebasing.rebase(50);
        vm.prank(sponsor);
        market.approve(shrunk.slot, shrunk.run);
        vm.prank(sponsor);
        market.approve(imagined.slot, imagined.run);
        vm.prank(client);
        assertEq(market.withdraw(honest, client), R + B, "the honest token");
        assertEq(honest.balanceOf(address(market)), R, "what is left of the honest token");
    }

    function test_WhoIsRefusedNamesAnotherReceiver() public {
        StrictToken strict = new StrictToken();
        _use(strict);
        Imagined memory imagined = _submit(_post(Disclosure.Open));
        strict.refuse(client);
        vm.prank(sponsor);
        market.approve(imagined.slot, imagined.run);
        vm.prank(client);
        vm.expectRevert("refused");
        market.withdraw(token, client);
        address friend = address(0xF1);
        vm.prank(client);
        market.withdraw(token, friend);
        assertEq(token.balanceOf(friend), R + B, "balance");
    }

    /// Everything goes on while a token is stopped, but for paying in and out.
    function test_AStoppedTokenStopsNoDispute() public {
        StrictToken strict = new StrictToken();
        _use(strict);
        Imagined memory imagined = _submit(_post(Disclosure.Open));
        ChallengeId id = _challenge(imagined, Kind.Step);
        strict.stop(true);
        _narrow(id, imagined, 5);
        _rule(id, Verdict.Executed, StateRoot.wrap(0));
        _checkState(imagined.slot, SlotState.Refuted);
        vm.prank(challenger);
        vm.expectRevert("refused");
        market.withdraw(token, challenger);
        strict.stop(false);
        vm.prank(challenger);
        assertEq(market.withdraw(token, challenger), C + K, "withdrawn");
    }

    // Calls back

    function test_NoMoneyMovesInsideOfATransfer() public {
        CallingToken calling = new CallingToken();
        _use(calling);
        // The token itself is owed something, and tries to take it while others pay.
        calling.mint(address(calling), 1_000_000);
        vm.prank(address(calling));
        calling.approve(address(market), type(uint256).max);
        Terms memory terms = _terms(Disclosure.Open);
        vm.prank(address(calling));
        JobId own = market.post(terms);
        vm.prank(address(calling));
        market.close(own);

        terms.nonce = "next";
        bytes[5] memory calls = [
            abi.encodeCall(Escrow.withdraw, (token, address(calling))),
            abi.encodeCall(Escrow.burn, (token)),
            abi.encodeCall(market.post, (terms)),
            abi.encodeCall(market.accept, (own, _accepted().dataRoot, _accepted().blindHash, 0)),
            abi.encodeCall(market.requestAudit, (SlotId.wrap(0)))
        ];
        for (uint256 i = 0; i < calls.length; ++i) {
            calling.arm(address(market), calls[i]);
            terms.nonce = bytes32(i);
            JobId job = _post(terms);
            _checkReentrancyRefused(calling);
            calling.arm(address(market), calls[i]);
            SlotId slot = _accept(job);
            _checkReentrancyRefused(calling);
            Imagined memory imagined = _submit(slot, 5, Status.Done, RIGHT);
            calling.arm(address(market), calls[i]);
            _challenge(imagined, Kind.Step);
            _checkReentrancyRefused(calling);
            disputes.conclude(_finishChallenge(imagined));
            market.finalize(slot);
            calling.arm(address(market), calls[i]);
            vm.prank(client);
            market.withdraw(token, client);
            _checkReentrancyRefused(calling);
            assertEq(market.owed(token, address(calling)), 2 * R, "what the token is owed");
        }
    }

    /// A nested challenge is refused too, and leaves nothing behind.
    function test_NoChallengeOpensInsideOfAnother() public {
        CallingToken calling = new CallingToken();
        _use(calling);
        Imagined memory imagined = _submit(_post(Disclosure.Open));
        calling.arm(address(disputes), abi.encodeCall(disputes.open, (imagined.slot, imagined.run, Kind.Step)));
        _challenge(imagined, Kind.Step);
        _checkReentrancyRefused(calling);
        assertEq(market.openChallenges(imagined.slot), 1, "open challenges");
        assertEq(disputes.challengeCount(imagined.slot), 1, "challenges");
    }

    function _finishChallenge(Imagined memory imagined) private returns (ChallengeId) {
        ChallengeId id = disputes.challengeIdOf(imagined.slot, challenger, 0);
        _postLeaves(id, imagined);
        vm.warp(block.timestamp + WINDOW + 1);
        return id;
    }

    function _checkReentrancyRefused(CallingToken calling) private view {
        assertTrue(!calling.done(), "a nested call went through");
        bytes4 why = bytes4(calling.answer());
        assertEq(why, ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector, "why it was refused");
    }

    // Paying out

    function test_WithdrawingTwiceIsRefused() public {
        Imagined memory imagined = _submit(_post(Disclosure.Open));
        vm.prank(sponsor);
        market.approve(imagined.slot, imagined.run);
        vm.prank(client);
        assertEq(market.withdraw(token, client), R + B, "withdrawn");
        vm.prank(client);
        vm.expectRevert(abi.encodeWithSelector(Escrow.NothingOwed.selector, token, client));
        market.withdraw(token, client);
    }

    function test_NobodyWithdrawsToWhereTokensAreLost() public {
        vm.expectRevert(abi.encodeWithSelector(Escrow.BadReceiver.selector, address(0)));
        market.withdraw(token, address(0));
        vm.expectRevert(abi.encodeWithSelector(Escrow.BadReceiver.selector, address(market)));
        market.withdraw(token, address(market));
    }

    function test_AnybodyBurns() public {
        SlotId slot = _accept(_post(Disclosure.Open));
        vm.expectRevert(abi.encodeWithSelector(Escrow.NothingOwed.selector, token, burned));
        market.burn(token);
        vm.warp(block.timestamp + SUBMIT + 1);
        market.forfeit(slot);
        vm.prank(anybody);
        assertEq(market.burn(token), B, "burned");
        assertEq(token.balanceOf(burned), B, "balance of the address that nobody has");
    }

    // Signatures

    function test_PermitAndPostInOneTransaction() public {
        uint256 key = 0xA11CE;
        address signer = vm.addr(key);
        token.mint(signer, 1_000_000);
        Terms memory terms = _terms(Disclosure.Open);
        bytes[] memory calls = new bytes[](2);
        calls[0] = _permitCall(key, signer, 2 * R);
        calls[1] = abi.encodeCall(market.post, (terms));
        vm.prank(signer);
        market.multicall(calls);
        assertEq(token.balanceOf(address(market)), 2 * R, "held");
        assertEq(market.getJob(market.jobIdOf(signer, terms)).sponsor, signer, "sponsor");
    }

    /// Somebody who brings the signature to the token first stops nobody.
    function test_APermitThatWasUsedIsNoFailure() public {
        uint256 key = 0xA11CE;
        address signer = vm.addr(key);
        token.mint(signer, 1_000_000);
        Terms memory terms = _terms(Disclosure.Open);
        bytes[] memory calls = new bytes[](2);
        calls[0] = _permitCall(key, signer, 2 * R);
        calls[1] = abi.encodeCall(market.post, (terms));
        (uint8 v, bytes32 r, bytes32 s) = _permit(key, signer, 2 * R);
        vm.prank(anybody);
        token.permit(signer, address(market), 2 * R, block.timestamp, v, r, s);
        vm.prank(signer);
        market.multicall(calls);
        assertEq(token.balanceOf(address(market)), 2 * R, "held");
    }

    /// A signature lets nobody else's money in, and leaves nothing behind if posting fails.
    function test_APermitOfAnotherAccountOrAmountOrTimeIsNone() public {
        uint256 key = 0xA11CE;
        address signer = vm.addr(key);
        token.mint(signer, 1_000_000);
        Terms memory terms = _terms(Disclosure.Open);
        bytes[] memory calls = new bytes[](2);
        calls[0] = _permitCall(key, signer, 2 * R);
        calls[1] = abi.encodeCall(market.post, (terms));
        vm.prank(anybody);
        vm.expectRevert();
        market.multicall(calls);
        vm.warp(block.timestamp + 1);
        vm.prank(signer);
        vm.expectPartialRevert(IERC20Errors.ERC20InsufficientAllowance.selector);
        market.multicall(calls);
        calls[0] = _permitCall(key, signer, 2 * R - 1);
        vm.prank(signer);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, market, 2 * R - 1, 2 * R)
        );
        market.multicall(calls);
        assertEq(token.allowance(signer, address(market)), 0, "allowed");
        assertEq(token.balanceOf(address(market)), 0, "held");
        assertEq(token.nonces(signer), 0, "signatures used");
    }

    function test_ClientsAcceptWithAPermitAsWell() public {
        uint256 key = 0xA11CE;
        address signer = vm.addr(key);
        token.mint(signer, B);
        JobId job = _post(Disclosure.Open);
        Run memory run = _accepted();
        bytes[] memory calls = new bytes[](2);
        calls[0] = _permitCall(key, signer, B);
        calls[1] = abi.encodeCall(market.accept, (job, run.dataRoot, run.blindHash, 0));
        vm.prank(signer);
        market.multicall(calls);
        SlotId slot = market.slotIdOf(job, signer, run.dataRoot, run.blindHash, 0);
        assertEq(market.getSlot(slot).client, signer, "client");
        assertEq(token.balanceOf(signer), 0, "balance");
    }

    /// Tokens that have no permit, or only seem to: with an allowance they are posted all the same, without one they are not.
    function test_TokensWithoutARealPermit() public {
        SilentToken[3] memory tokens = [new SilentToken(), new WelcomingToken(), new GreedyToken()];
        for (uint256 i = 0; i < tokens.length; ++i) {
            SilentToken other = tokens[i];
            other.mint(sponsor, 1_000_000);
            Terms memory terms = _terms(Disclosure.Open);
            terms.token = IERC20(address(other));
            bytes[] memory calls = new bytes[](2);
            IERC20Permit signed = IERC20Permit(address(other));
            calls[0] = abi.encodeCall(Escrow.permit, (signed, 2 * R, block.timestamp, 27, "r", "s"));
            calls[1] = abi.encodeCall(market.post, (terms));
            vm.prank(sponsor);
            vm.expectRevert();
            market.multicall{gas: 30_000_000}(calls);
            assertEq(other.balanceOf(address(market)), 0, "held");
            vm.prank(sponsor);
            other.approve(address(market), 2 * R);
            vm.prank(sponsor);
            market.multicall{gas: 30_000_000}(calls);
            assertEq(other.balanceOf(address(market)), 2 * R, "held");
        }
    }
}
