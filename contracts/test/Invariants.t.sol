// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {Challenge, ChallengeState, Disputes} from "../src/Disputes.sol";
import {Kind, Verdict} from "../src/IArbitrator.sol";
import {Job, Terms} from "../src/Jobs.sol";
import {Market} from "../src/Market.sol";
import {Audit, AuditState, Slot, SlotState} from "../src/Slots.sol";
import {Level} from "../src/Trace.sol";
import {ChallengeId, Disclosure, Duration, JobId, SlotId, StateRoot, Status, Time} from "../src/Types.sol";
import {Imagined, Kit} from "./Kit.sol";
import {Test} from "./Test.sol";

/// Many parties doing whatever is allowed, in any order and with any delays. What is not allowed is left out, so that a
/// revert is a finding.
contract Crowd is Kit {
    address[] public clients;
    address[] public challengers;
    address[] public requesters;

    JobId[] public jobs;
    SlotId[] public slots;
    ChallengeId[] public challenges;

    mapping(SlotId => Imagined) private _imagined;

    uint256 public constant FUNDS = 1e12;

    /// How many slots and challenges there were of each ending, and how many ended by a ruling.
    mapping(ChallengeState => uint256) public rulings;

    function setUp() public override {
        super.setUp();
        for (uint160 i = 1; i <= 3; ++i) {
            clients.push(address(0xC1000 + i));
            challengers.push(address(0xC4000 + i));
            requesters.push(address(0xAE000 + i));
        }
        _endow(clients);
        _endow(challengers);
        _endow(requesters);
        token.mint(sponsor, FUNDS - token.balanceOf(sponsor));
    }

    function _endow(address[] storage parties) private {
        for (uint256 i = 0; i < parties.length; ++i) {
            _fund(token, parties[i]);
            token.mint(parties[i], FUNDS - token.balanceOf(parties[i]));
        }
    }

    function market_() external view returns (Market) {
        return market;
    }

    function token_() external view returns (IERC20) {
        return token;
    }

    function arbitrator_() external view returns (address) {
        return address(arbitrator);
    }

    function sponsor_() external view returns (address) {
        return sponsor;
    }

    function counts() external view returns (uint256, uint256, uint256) {
        return (jobs.length, slots.length, challenges.length);
    }

    // What the parties do

    function post(uint8 disclosure, uint8 count) external {
        if (jobs.length > 6) return;
        Terms memory terms = _terms(Disclosure(disclosure % 3));
        terms.nonce = bytes32(jobs.length);
        terms.slots = uint32(bound(count, 1, 5));
        terms.stepsPerSegment = 8;
        if (terms.disclosure == Disclosure.Private) terms.bond = B;
        jobs.push(_post(terms));
    }

    function close(uint256 which, bool bySponsor) external {
        if (jobs.length == 0) return;
        JobId id = jobs[which % jobs.length];
        Job memory job = market.getJob(id);
        if (job.closed || (!bySponsor && !_past(job.acceptUntil))) return;
        vm.prank(bySponsor ? sponsor : anybody);
        market.close(id);
    }

    function accept(uint256 which, uint8 who) external {
        if (jobs.length == 0) return;
        JobId id = jobs[which % jobs.length];
        Job memory job = market.getJob(id);
        if (job.closed || _past(job.acceptUntil) || job.open == 0) return;
        slots.push(_accept(id, clients[who % clients.length], bytes32(slots.length)));
    }

    function submit(uint256 which, uint8 status, uint8 steps) external {
        (bool found, SlotId id) = _slotIn(which, SlotState.Accepted);
        if (!found || _past(market.getSlot(id).deadline)) return;
        if (block.number > market.getSlot(id).blockNumber + 4 + 250) return;
        uint64 run = uint64(bound(steps, 1, 40));
        // Most runs end well.
        Status end = status < 128 ? Status.Done : Status(bound(status, 2, 6));
        _imagined[id] = _submit(id, run, end, RIGHT);
    }

    function abandon(uint256 which) external {
        (bool found, SlotId id) = _slotIn(which, SlotState.Accepted);
        if (!found || which % 4 != 0 || _past(market.getSlot(id).deadline)) return;
        vm.prank(market.getSlot(id).client);
        market.abandon(id);
    }

    function approve(uint256 which) external {
        (bool found, SlotId id) = _slotIn(which, SlotState.Submitted);
        if (!found || which % 4 != 0 || market.openChallenges(id) > 0) return;
        Audit memory audit = market.getAudit(id);
        bool isWaited = audit.state == AuditState.Due || !_past(market.getSlot(id).deadline);
        if (audit.requester != address(0) && isWaited) return;
        vm.prank(sponsor);
        market.approve(id, _imagined[id].run);
    }

    function finalize(uint256 which) external {
        (bool found, SlotId id) = _slotIn(which, SlotState.Submitted);
        if (!found) return;
        _finalize(id);
    }

    function forfeit(uint256 which) external {
        if (slots.length == 0) return;
        _forfeit(slots[which % slots.length]);
    }

    function drawAudit(uint256 which, bool drawn) external {
        (bool found, SlotId id) = _slotIn(which, SlotState.Submitted);
        if (!found || !_mayDraw(id)) return;
        if (block.number > market.getSlot(id).blockNumber + 4 + 250) return;
        _lottery(id, drawn);
    }

    function requestAudit(uint256 which, uint8 who) external {
        (bool found, SlotId id) = _slotIn(which, SlotState.Submitted);
        if (!found || _jobOf(id).disclosure != Disclosure.Audited) return;
        if (_past(market.getSlot(id).deadline) || market.getAudit(id).state != AuditState.None) return;
        vm.prank(requesters[who % requesters.length]);
        market.requestAudit(id);
    }

    function disclose(uint256 which) external {
        (bool found, SlotId id) = _slotIn(which, SlotState.Submitted);
        Audit memory audit = market.getAudit(id);
        if (!found || audit.state != AuditState.Due || _past(audit.deadline)) return;
        _disclose(id);
    }

    function challenge(uint256 which, uint8 who, uint8 kind) external {
        (bool found, SlotId id) = _slotIn(which, SlotState.Submitted);
        if (!found || _past(market.getSlot(id).deadline) || challenges.length > 60) return;
        Kind about = Kind(kind % 3);
        Disclosure disclosure = _jobOf(id).disclosure;
        if (disclosure == Disclosure.Private) return;
        if (about == Kind.Results && market.getSlot(id).flags & market.DONE() == 0) return;
        if (
            about != Kind.Results && disclosure == Disclosure.Audited
                && market.getAudit(id).state != AuditState.Disclosed
        ) return;
        address party = challengers[who % challengers.length];
        vm.prank(party);
        challenges.push(disputes.open(id, _imagined[id].run, about));
    }

    function postLeaves(uint256 which) external {
        (bool found, ChallengeId id, Challenge memory dispute) = _challengeIn(which, ChallengeState.WantsLeaves);
        if (!found || _past(dispute.deadline)) return;
        _postLeaves(id, _imagined[dispute.slot]);
    }

    function choose(uint256 which, uint64 step) external {
        (bool found, ChallengeId id, Challenge memory dispute) = _challengeIn(which, ChallengeState.WantsChoice);
        if (!found || _past(dispute.deadline)) return;
        Level memory level = dispute.level;
        step = uint64(bound(step, level.first, level.first + level.steps - 1));
        challenger = dispute.challenger;
        _choose(id, _imagined[dispute.slot], step);
    }

    function resolve(uint256 which, uint8 verdict) external {
        (bool found, ChallengeId id, Challenge memory dispute) = _challengeIn(which, ChallengeState.WantsRuling);
        if (!found || _past(dispute.deadline)) return;
        // Executed: half of the time what the client says.
        StateRoot stateOut = verdict < 128 ? dispute.stateOut : StateRoot.wrap(0);
        _rule(id, Verdict(bound(verdict, 1, 4)), stateOut);
        ++rulings[disputes.getChallenge(id).state];
    }

    function conclude(uint256 which) external {
        if (challenges.length == 0) return;
        _conclude(challenges[which % challenges.length]);
    }

    function withdraw(uint256 which) external {
        address[3] memory parties =
            [clients[which % 3], challengers[which % 3], which % 2 == 0 ? sponsor : requesters[which % 3]];
        for (uint256 i = 0; i < parties.length; ++i) {
            _withdraw(parties[i]);
        }
    }

    function burn() external {
        if (market.owed(token, burned) > 0) market.burn(token);
    }

    function wait(uint32 seconds_) external {
        // Mostly minutes, so that randomness is not always lost.
        uint256 time = bound(seconds_, 1, seconds_ % 4 == 0 ? 2 days : 10 minutes);
        vm.warp(block.timestamp + time);
        vm.roll(block.number + time / 12 + 1);
    }

    // Calls that anybody may make once it is time

    /// Whatever the parties have left behind, time and anybody's calls bring every token to somebody.
    function leaveEverythingToTime() external {
        // A challenge ends after its deadline, and a slot after its challenges. Drawing an audit begins another round.
        for (uint256 round = 0; round < 4; ++round) {
            vm.warp(block.timestamp + 365 days);
            vm.roll(block.number + 10_000);
            for (uint256 i = 0; i < challenges.length; ++i) {
                _conclude(challenges[i]);
            }
            for (uint256 i = 0; i < slots.length; ++i) {
                if (market.getSlot(slots[i]).state == SlotState.Submitted && _mayDraw(slots[i])) {
                    market.drawAudit(slots[i], "");
                } else {
                    _forfeit(slots[i]);
                }
                if (market.getSlot(slots[i]).state == SlotState.Submitted) _finalize(slots[i]);
            }
        }
        for (uint256 i = 0; i < jobs.length; ++i) {
            if (!market.getJob(jobs[i]).closed) {
                vm.prank(anybody);
                market.close(jobs[i]);
            }
        }
        for (uint256 i = 0; i < 3; ++i) {
            _withdraw(clients[i]);
            _withdraw(challengers[i]);
            _withdraw(requesters[i]);
        }
        _withdraw(sponsor);
        _withdraw(address(arbitrator));
        if (market.owed(token, burned) > 0) market.burn(token);
    }

    function _finalize(SlotId id) private {
        if (!_past(market.getSlot(id).deadline) || market.openChallenges(id) > 0) return;
        if (_mayDraw(id) || market.getAudit(id).state == AuditState.Due) return;
        vm.prank(anybody);
        market.finalize(id);
    }

    function _forfeit(SlotId id) private {
        Slot memory slot = market.getSlot(id);
        Audit memory audit = market.getAudit(id);
        bool lost = slot.flags & market.DRAWN() == 0 && block.number > slot.blockNumber + 4 + 256;
        bool overdue = slot.state == SlotState.Accepted && (lost || _past(slot.deadline));
        bool silent = slot.state == SlotState.Submitted && audit.state == AuditState.Due && _past(audit.deadline);
        if (!overdue && !silent) return;
        vm.prank(anybody);
        market.forfeit(id);
    }

    function _conclude(ChallengeId id) private {
        Challenge memory dispute = disputes.getChallenge(id);
        if (dispute.state >= ChallengeState.Won) return;
        if (!_past(dispute.deadline) && market.getSlot(dispute.slot).state == SlotState.Submitted) return;
        vm.prank(anybody);
        disputes.conclude(id);
    }

    function _withdraw(address party) private {
        if (market.owed(token, party) == 0) return;
        vm.prank(party);
        market.withdraw(token, party);
    }

    function _mayDraw(SlotId id) private view returns (bool) {
        return _jobOf(id).disclosure == Disclosure.Audited && market.getAudit(id).state == AuditState.None
            && market.getSlot(id).flags & market.LOTTERY() == 0;
    }

    function _jobOf(SlotId id) private view returns (Job memory) {
        return market.getJob(market.getSlot(id).job);
    }

    function _past(Time time) private view returns (bool) {
        return block.timestamp > Time.unwrap(time);
    }

    /// Some slot in this state.
    function _slotIn(uint256 which, SlotState state) private view returns (bool found, SlotId id) {
        for (uint256 i = 0; i < slots.length; ++i) {
            id = slots[(which % slots.length + i) % slots.length];
            if (market.getSlot(id).state == state) return (true, id);
        }
    }

    /// Some challenge in this state whose slot has not ended.
    function _challengeIn(uint256 which, ChallengeState state)
        private
        view
        returns (bool, ChallengeId id, Challenge memory dispute)
    {
        for (uint256 i = 0; i < challenges.length; ++i) {
            id = challenges[(which % challenges.length + i) % challenges.length];
            dispute = disputes.getChallenge(id);
            if (dispute.state == state && market.getSlot(dispute.slot).state == SlotState.Submitted) {
                return (true, id, dispute);
            }
        }
        return (false, id, dispute);
    }
}

/// What holds whatever the crowd does.
contract InvariantsTest is Test {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    uint256 private constant R = 1000;
    uint256 private constant B = 10_001;
    uint256 private constant C = 900;
    uint256 private constant K = 300;
    uint256 private constant F = 200;

    Crowd private crowd;
    Market private market;
    Disputes private disputes;
    IERC20 private token;

    function setUp() public {
        crowd = new Crowd();
        crowd.setUp();
        market = crowd.market_();
        disputes = market.disputes();
        token = crowd.token_();
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        bytes4[18] memory all = [
            Crowd.post.selector,
            Crowd.close.selector,
            Crowd.accept.selector,
            Crowd.submit.selector,
            Crowd.abandon.selector,
            Crowd.approve.selector,
            Crowd.finalize.selector,
            Crowd.forfeit.selector,
            Crowd.drawAudit.selector,
            Crowd.requestAudit.selector,
            Crowd.disclose.selector,
            Crowd.challenge.selector,
            Crowd.postLeaves.selector,
            Crowd.choose.selector,
            Crowd.resolve.selector,
            Crowd.conclude.selector,
            Crowd.withdraw.selector,
            Crowd.wait.selector
        ];
        targets = new FuzzSelector[](1);
        targets[0].addr = address(crowd);
        // What is needed to get far is there more than once.
        targets[0].selectors = new bytes4[](all.length + 6);
        for (uint256 i = 0; i < all.length; ++i) {
            targets[0].selectors[i] = all[i];
        }
        bytes4[6] memory more = [
            Crowd.accept.selector,
            Crowd.submit.selector,
            Crowd.challenge.selector,
            Crowd.postLeaves.selector,
            Crowd.choose.selector,
            Crowd.burn.selector
        ];
        for (uint256 i = 0; i < more.length; ++i) {
            targets[0].selectors[all.length + i] = more[i];
        }
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(crowd);
    }

    /// All at once: each needs the same long histories.
    function invariant_EverybodyHasWhatIsTheirs() public view {
        _checkTheMarketHoldsExactlyWhatItOwes();
        _checkTheSponsorPaysForResultsAlone();
        _checkClientsHaveWhatTheyEarned();
        _checkChallengersHaveWhatTheyEarned();
        _checkRequestersHaveWhatTheyEarned();
        _checkTheArbitratorIsPaidForRulings();
        _checkOpenChallengesAreCounted();
    }

    /// What the market holds is what it owes and what it keeps for jobs, slots, audits and challenges: not one unit more
    /// or less.
    function _checkTheMarketHoldsExactlyWhatItOwes() private view {
        uint256 owed = market.owed(token, crowd.sponsor_()) + market.owed(token, crowd.arbitrator_())
            + market.owed(token, market.BURNED());
        for (uint256 i = 0; i < 3; ++i) {
            owed += market.owed(token, crowd.clients(i)) + market.owed(token, crowd.challengers(i))
            + market.owed(token, crowd.requesters(i));
        }
        (uint256 jobs,,) = crowd.counts();
        uint256 kept;
        for (uint256 i = 0; i < jobs; ++i) {
            kept += uint256(market.getJob(crowd.jobs(i)).open) * R;
        }
        kept += _live() * (R + B) + (_pendingAudits() + _openChallenges()) * C;
        assertEq(token.balanceOf(address(market)), owed + kept, "held");
    }

    /// The sponsor has what it began with, less the reward of each slot that was paid: it gains by nobody's loss.
    function _checkTheSponsorPaysForResultsAlone() private view {
        (uint256 jobs,,) = crowd.counts();
        uint256 has = _wealth(crowd.sponsor_()) + _live() * R;
        for (uint256 i = 0; i < jobs; ++i) {
            has += uint256(market.getJob(crowd.jobs(i)).open) * R;
        }
        assertEq(has + _slotsIn(SlotState.Paid) * R, crowd.FUNDS(), "the sponsor's");
    }

    /// Clients have what they began with, more the rewards and the compensations of challenges of steps, less the bonds that they lost.
    function _checkClientsHaveWhatTheyEarned() private view {
        uint256 has = _live() * B;
        for (uint256 i = 0; i < 3; ++i) {
            has += _wealth(crowd.clients(i));
        }
        uint256 lost = _slotsIn(SlotState.Forfeited) + _slotsIn(SlotState.Silent) + _slotsIn(SlotState.Refuted);
        has += lost * B + _slotsIn(SlotState.Abandoned) * (B - B / 2);
        uint256 earned = _slotsIn(SlotState.Paid) * R + _lostStepChallenges() * K;
        earned += _auditsFor(AuditState.Disclosed, false) * K;
        assertEq(has, 3 * crowd.FUNDS() + earned, "the clients'");
    }

    /// Challengers have what they began with, more a compensation for each wrong submission, less the bonds that they lost.
    function _checkChallengersHaveWhatTheyEarned() private view {
        uint256 has = _openChallenges() * C + _challengesIn(ChallengeState.Lost) * C;
        has += crowd.rulings(ChallengeState.Undecided) * F;
        for (uint256 i = 0; i < 3; ++i) {
            has += _wealth(crowd.challengers(i));
        }
        assertEq(has, 3 * crowd.FUNDS() + _challengesIn(ChallengeState.Won) * K, "the challengers'");
        assertEq(_challengesIn(ChallengeState.Won), _slotsIn(SlotState.Refuted), "each refuted slot has one winner");
    }

    /// Who asks for an audit pays the client for it if nothing is found, and is paid if the client is silent.
    function _checkRequestersHaveWhatTheyEarned() private view {
        uint256 has = _pendingAudits() * C + _auditsFor(AuditState.Disclosed, false) * K;
        for (uint256 i = 0; i < 3; ++i) {
            has += _wealth(crowd.requesters(i));
        }
        assertEq(has, 3 * crowd.FUNDS() + _auditsFor(AuditState.Due, true) * K, "the requesters'");
    }

    /// The arbitrator has its fee for each ruling, and nothing else.
    function _checkTheArbitratorIsPaidForRulings() private view {
        uint256 ruled = crowd.rulings(ChallengeState.Won) + crowd.rulings(ChallengeState.Lost)
            + crowd.rulings(ChallengeState.Undecided);
        assertEq(market.owed(token, crowd.arbitrator_()), ruled * F, "the arbitrator's");
    }

    /// Slots and open challenges agree.
    function _checkOpenChallengesAreCounted() private view {
        (, uint256 slots,) = crowd.counts();
        uint256 counted;
        for (uint256 i = 0; i < slots; ++i) {
            counted += market.openChallenges(crowd.slots(i));
        }
        assertEq(counted, _openChallenges(), "open challenges");
    }

    /// No state is without an exit: in the end the market is empty.
    function afterInvariant() public {
        crowd.leaveEverythingToTime();
        assertEq(_live(), 0, "slots that did not end");
        assertEq(_openChallenges(), 0, "challenges that did not end");
        assertEq(token.balanceOf(address(market)), 0, "left in the market");
    }

    function _wealth(address party) private view returns (uint256) {
        return token.balanceOf(party) + market.owed(token, party);
    }

    function _live() private view returns (uint256) {
        return _slotsIn(SlotState.Accepted) + _slotsIn(SlotState.Submitted);
    }

    function _slotsIn(SlotState state) private view returns (uint256 count) {
        (, uint256 slots,) = crowd.counts();
        for (uint256 i = 0; i < slots; ++i) {
            if (market.getSlot(crowd.slots(i)).state == state) ++count;
        }
    }

    function _openChallenges() private view returns (uint256 count) {
        (,, count) = crowd.counts();
        for (ChallengeState state = ChallengeState.Won;; state = ChallengeState(uint8(state) + 1)) {
            count -= _challengesIn(state);
            if (state == ChallengeState.Void) return count;
        }
    }

    function _challengesIn(ChallengeState state) private view returns (uint256 count) {
        (,, uint256 challenges) = crowd.counts();
        for (uint256 i = 0; i < challenges; ++i) {
            if (disputes.getChallenge(crowd.challenges(i)).state == state) ++count;
        }
    }

    function _lostStepChallenges() private view returns (uint256 count) {
        (,, uint256 challenges) = crowd.counts();
        for (uint256 i = 0; i < challenges; ++i) {
            Challenge memory dispute = disputes.getChallenge(crowd.challenges(i));
            if (dispute.state == ChallengeState.Lost && dispute.kind == Kind.Step) ++count;
        }
    }

    /// Bonds of audit requests that the market still has.
    function _pendingAudits() private view returns (uint256 count) {
        (, uint256 slots,) = crowd.counts();
        for (uint256 i = 0; i < slots; ++i) {
            bool live = market.getSlot(crowd.slots(i)).state == SlotState.Submitted;
            if (live && market.getAudit(crowd.slots(i)).requester != address(0)) ++count;
        }
    }

    /// Requested audits that ended in this state: of silent clients, or of clients that are not refuted.
    function _auditsFor(AuditState state, bool silent) private view returns (uint256 count) {
        (, uint256 slots,) = crowd.counts();
        for (uint256 i = 0; i < slots; ++i) {
            SlotId id = crowd.slots(i);
            SlotState ending = market.getSlot(id).state;
            bool counts =
                silent ? ending == SlotState.Silent : ending > SlotState.Submitted && ending != SlotState.Refuted;
            Audit memory audit = market.getAudit(id);
            if (counts && audit.state == state && audit.requester != address(0)) ++count;
        }
    }
}
