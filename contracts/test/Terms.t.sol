// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Vm} from "./Test.sol";

import {IArbitrator} from "../src/IArbitrator.sol";
import {Job, Jobs, Terms} from "../src/Jobs.sol";
import {Disclosure, Duration, JobId, JobRoot, Time} from "../src/Types.sol";
import {Kit} from "./Kit.sol";

/// What may be posted.
contract TermsTest is Kit {
    function _refuse(Terms memory terms, bytes32 field, uint256 value, uint256 least, uint256 most) private {
        vm.prank(sponsor);
        vm.expectRevert(abi.encodeWithSelector(Jobs.BadTerm.selector, field, value, least, most));
        market.post(terms);
    }

    function _refuse(Terms memory terms, bytes32 field) private {
        vm.prank(sponsor);
        try market.post(terms) {
            assertTrue(false, string(abi.encodePacked("not refused: ", field)));
        } catch (bytes memory reason) {
            bytes32 found;
            assembly {
                found := mload(add(reason, 0x24))
            }
            assertEq(bytes4(reason), Jobs.BadTerm.selector, "error");
            assertEq(found, field, "field");
        }
    }

    function test_EveryTermHasItsRange() public {
        uint256 year = 365 days;
        Terms memory t = _terms(Disclosure.Open);
        t.reward = 0;
        _refuse(t, "reward", 0, 1, type(uint128).max);
        t = _terms(Disclosure.Open);
        t.slots = 0;
        _refuse(t, "slots", 0, 1, type(uint32).max);
        t = _terms(Disclosure.Open);
        t.acceptUntil = Time.wrap(uint40(block.timestamp - 1));
        _refuse(t, "acceptUntil", block.timestamp - 1, block.timestamp, block.timestamp + year);
        t.acceptUntil = Time.wrap(uint40(block.timestamp + year + 1));
        _refuse(t, "acceptUntil", block.timestamp + year + 1, block.timestamp, block.timestamp + year);
        t = _terms(Disclosure.Open);
        t.submitTime = Duration.wrap(0);
        _refuse(t, "submitTime", 0, 1, year);
        t.submitTime = Duration.wrap(uint32(year + 1));
        _refuse(t, "submitTime", year + 1, 1, year);
        t = _terms(Disclosure.Open);
        t.window = Duration.wrap(0);
        _refuse(t, "window", 0, 1, year);
        t.window = Duration.wrap(uint32(year + 1));
        _refuse(t, "window", year + 1, 1, year);
        t = _terms(Disclosure.Open);
        t.moveTime = Duration.wrap(0);
        _refuse(t, "moveTime", 0, 1, year);
        t.moveTime = Duration.wrap(type(uint32).max);
        _refuse(t, "moveTime", type(uint32).max, 1, year);
        t = _terms(Disclosure.Open);
        t.stepsPerSegment = 0;
        _refuse(t, "stepsPerSegment", 0, 1, 1 << 48);
        t.stepsPerSegment = (1 << 48) + 1;
        _refuse(t, "stepsPerSegment", (1 << 48) + 1, 1, 1 << 48);
        t = _terms(Disclosure.Open);
        t.results = 0;
        _refuse(t, "results", 0, 1, 16);
        t.results = 17;
        _refuse(t, "results", 17, 1, 16);
    }

    function test_DisputesMustPayForThemselves() public {
        Terms memory t = _terms(Disclosure.Open);
        t.compensation = 0;
        _refuse(t, "compensation", 0, 1, B / 2);
        t.compensation = B / 2 + 1;
        _refuse(t, "compensation", B / 2 + 1, 1, B / 2);
        t = _terms(Disclosure.Open);
        t.bond = 0;
        _refuse(t, "compensation", K, 1, 0);
        t = _terms(Disclosure.Open);
        t.challengeBond = K + F - 1;
        _refuse(t, "challengeBond", K + F - 1, K + F, type(uint128).max);
        t = _terms(Disclosure.Open);
        t.arbitrationFee = B - K + 1;
        t.challengeBond = B + 1;
        _refuse(t, "bond", B, B + 1, type(uint128).max);
        t = _terms(Disclosure.Open);
        uint256 least = 1 hours + MOVE;
        t.arbitrationTime = Duration.wrap(uint32(least - 1));
        _refuse(t, "arbitrationTime", least - 1, least, 365 days);
        t.arbitrationTime = Duration.wrap(365 days + 1);
        _refuse(t, "arbitrationTime", 365 days + 1, least, 365 days);
    }

    function test_AnArbitratorIsAContractThatAnswers() public {
        Terms memory t = _terms(Disclosure.Open);
        t.arbitrator = IArbitrator(address(0));
        vm.prank(sponsor);
        vm.expectRevert();
        market.post(t);
        t.arbitrator = IArbitrator(address(token));
        vm.prank(sponsor);
        vm.expectRevert();
        market.post(t);
    }

    function test_APrivateJobHasNothingToDisputeWith() public {
        Terms memory open = _terms(Disclosure.Open);
        Terms memory t = _terms(Disclosure.Private);
        t.arbitrator = open.arbitrator;
        _refuse(t, "arbitrator");
        t = _terms(Disclosure.Private);
        t.arbitrationTime = open.arbitrationTime;
        _refuse(t, "arbitrationTime");
        t = _terms(Disclosure.Private);
        t.arbitrationFee = 1;
        _refuse(t, "arbitrationFee");
        t = _terms(Disclosure.Private);
        t.challengeBond = 1;
        _refuse(t, "challengeBond");
        t = _terms(Disclosure.Private);
        t.compensation = 1;
        _refuse(t, "compensation");
        t = _terms(Disclosure.Private);
        t.bond = 0;
        _accept(_post(t));
        assertEq(token.balanceOf(address(market)), 2 * R, "held");
    }

    function test_OnlyAuditedJobsHaveAuditors() public {
        for (uint256 i = 0; i < 2; ++i) {
            Terms memory t = _terms(i == 0 ? Disclosure.Open : Disclosure.Private);
            t.auditors = new address[](1);
            t.auditors[0] = address(1);
            _refuse(t, "auditors", 1, 0, 0);
            t.auditors = new address[](0);
            t.auditsPerMillion = 1;
            _refuse(t, "auditsPerMillion", 1, 0, 0);
        }
        Terms memory a = _terms(Disclosure.Audited);
        a.auditsPerMillion = 0;
        _refuse(a, "auditsPerMillion", 0, 1, 1_000_000);
        a.auditsPerMillion = 1_000_001;
        _refuse(a, "auditsPerMillion", 1_000_001, 1, 1_000_000);
        a = _terms(Disclosure.Audited);
        a.auditors = new address[](0);
        _refuse(a, "auditors", 0, 1, 64);
        a.auditors = _auditors(65);
        _refuse(a, "auditors", 65, 1, 64);
    }

    function test_AuditorsAreInRisingOrder() public {
        Terms memory t = _terms(Disclosure.Audited);
        t.auditors = _auditors(64);
        t.auditors[7] = t.auditors[6];
        vm.prank(sponsor);
        vm.expectRevert(abi.encodeWithSelector(Jobs.AuditorsNotRising.selector, t.auditors[7]));
        market.post(t);
        t.auditors[7] = address(0);
        vm.prank(sponsor);
        vm.expectRevert(abi.encodeWithSelector(Jobs.AuditorsNotRising.selector, address(0)));
        market.post(t);
        t.auditors = _auditors(64);
        Job memory job = market.getJob(_post(t));
        assertEq(job.auditorCount, 64, "how many");
        assertTrue(job.auditors != 0, "root");
    }

    /// A client that cheats whenever it is not drawn, and refutes itself when it is, does not gain on average.
    function testFuzz_TheBondOfAnAuditedJobCoversTheReward(uint128 reward, uint128 bond, uint24 perMillion) public {
        perMillion = uint24(bound(perMillion, 1, 1_000_000));
        reward = uint128(bound(reward, 1, type(uint128).max / 2));
        bond = uint128(bound(bond, 2 * K, type(uint128).max / 2));
        Terms memory t = _terms(Disclosure.Audited);
        t.reward = reward;
        t.bond = bond;
        t.auditsPerMillion = perMillion;
        token.mint(sponsor, type(uint256).max / 2);
        uint256 atRisk = uint256(bond - K) * perMillion;
        uint256 gain = uint256(reward) * (1_000_000 - perMillion);
        if (atRisk < gain) _refuse(t, "bond", atRisk, gain, type(uint256).max);
        else _post(t);
    }

    /// The bond may be the least that the rule allows, and no less.
    function test_TheLeastBondOfAnAuditedJob() public {
        Terms memory t = _terms(Disclosure.Audited);
        t.bond = K + 9 * R;
        _post(t);
        t.bond -= 1;
        _refuse(t, "bond", (9 * R - 1) * 100_000, R * 900_000, type(uint256).max);
    }

    function test_WhatIsKeptIsWhatWasPosted() public {
        Terms memory t = _terms(Disclosure.Audited);
        Job memory job = market.getJob(_post(t));
        assertEq(job.sponsor, sponsor, "sponsor");
        assertEq(Time.unwrap(job.acceptUntil), Time.unwrap(t.acceptUntil), "acceptUntil");
        assertEq(job.open, t.slots, "open");
        assertTrue(!job.closed, "closed");
        assertEq(uint256(job.class), uint256(t.class), "class");
        assertEq(uint256(job.disclosure), uint256(t.disclosure), "disclosure");
        assertEq(address(job.token), address(t.token), "token");
        assertEq(Duration.unwrap(job.submitTime), SUBMIT, "submitTime");
        assertEq(Duration.unwrap(job.window), WINDOW, "window");
        assertEq(Duration.unwrap(job.moveTime), MOVE, "moveTime");
        assertEq(address(job.arbitrator), address(arbitrator), "arbitrator");
        assertEq(Duration.unwrap(job.arbitrationTime), RULE, "arbitrationTime");
        assertEq(job.auditsPerMillion, 100_000, "auditsPerMillion");
        assertEq(job.results, 1, "results");
        assertEq(job.auditorCount, 2, "auditorCount");
        assertEq(job.reward, R, "reward");
        assertEq(job.bond, B, "bond");
        assertEq(job.challengeBond, C, "challengeBond");
        assertEq(job.compensation, K, "compensation");
        assertEq(job.arbitrationFee, F, "arbitrationFee");
        assertEq(job.stepsPerSegment, 70_000, "stepsPerSegment");
        assertEq(JobRoot.unwrap(job.root), JobRoot.unwrap(t.root), "root");
    }

    /// All terms are in the event, and they make the id.
    function test_AListingCanBeMadeFromEvents() public {
        Terms memory t = _terms(Disclosure.Audited);
        vm.recordLogs();
        JobId id = _post(t);
        Vm.Log memory log = vm.getRecordedLogs()[0];
        assertEq(log.topics[0], Jobs.JobPosted.selector, "event");
        assertEq(log.topics[1], JobId.unwrap(id), "job");
        Terms memory found = abi.decode(log.data, (Terms));
        vm.assertEq(abi.encode(found), abi.encode(t), "terms");
        bytes memory words = abi.encode(block.chainid, market, sponsor, keccak256(abi.encode(found)));
        assertEq(JobId.unwrap(id), keccak256(bytes.concat("fedmkt job", words)), "id");
    }

    function test_IdsDifferBetweenChainsMarketsAndSponsors() public {
        Terms memory t = _terms(Disclosure.Open);
        JobId id = market.jobIdOf(sponsor, t);
        assertTrue(JobId.unwrap(market.jobIdOf(client, t)) != JobId.unwrap(id), "sponsor");
        vm.chainId(5);
        assertTrue(JobId.unwrap(market.jobIdOf(sponsor, t)) != JobId.unwrap(id), "chain");
        vm.chainId(31337);
        setUp();
        assertTrue(JobId.unwrap(market.jobIdOf(sponsor, t)) != JobId.unwrap(id), "market");
    }

    /// The largest amounts fit.
    function test_AmountsAsLargeAsTheyCanBe() public {
        Terms memory t = _terms(Disclosure.Open);
        t.slots = type(uint32).max;
        t.reward = type(uint128).max;
        t.bond = type(uint128).max;
        t.challengeBond = type(uint128).max;
        t.compensation = type(uint128).max / 2;
        t.arbitrationFee = type(uint128).max / 2;
        token.mint(sponsor, type(uint192).max);
        token.mint(client, type(uint192).max);
        JobId job = _post(t);
        _accept(job);
        assertEq(
            token.balanceOf(address(market)), uint256(type(uint32).max) * type(uint128).max + type(uint128).max, "held"
        );
    }

    function _auditors(uint256 count) private pure returns (address[] memory auditors) {
        auditors = new address[](count);
        for (uint256 i = 0; i < count; ++i) {
            auditors[i] = address(uint160(100 + 3 * i));
        }
    }
}
