// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {Stakes} from "../src/Stakes.sol";
import {Duration} from "../src/Types.sol";
import {DevToken as Token} from "../src/dev/DevToken.sol";
import {Test} from "./Test.sol";
import {FeeToken} from "./Tokens.t.sol";

/// Stakes whose past can be asked about, and that can be lost.
contract OpenStakes is Stakes {
    constructor(IERC20 token) Stakes(token, 1000, Duration.wrap(1 days)) {}

    function seatCountAfter(uint256 blockNumber) external view returns (uint256) {
        return _seatCountAfter(blockNumber);
    }

    function holderAfter(uint256 position, uint256 blockNumber) external view returns (address) {
        return _holderAfter(position, blockNumber);
    }

    function lose(address member, uint128 amount) external {
        _members[member].stake -= amount;
        lost += amount;
    }
}

contract StakesTest is Test {
    OpenStakes private stakes;
    Token private token;
    address private one = address(0x111);
    address private other = address(0x222);

    function setUp() public {
        vm.warp(1_800_000_000);
        vm.roll(1000);
        token = new Token();
        stakes = new OpenStakes(IERC20(address(token)));
        _deposit(one, 2500);
        _deposit(other, 10_000);
    }

    function _deposit(address who, uint128 amount) private {
        token.mint(who, amount);
        vm.startPrank(who);
        token.approve(address(stakes), amount);
        stakes.deposit(amount);
        vm.stopPrank();
    }

    function _takeSeat(address who) private returns (uint256) {
        vm.prank(who);
        return stakes.takeSeat();
    }

    function test_SeatsAreCoveredByStake() public {
        assertEq(_takeSeat(one), 0, "first");
        assertEq(_takeSeat(one), 1, "second");
        vm.prank(one);
        vm.expectRevert(abi.encodeWithSelector(Stakes.NotCovered.selector, one, 2500, 3000));
        stakes.takeSeat();
        assertEq(stakes.seatCount(), 2, "seats");
        assertEq(stakes.holderOf(1), one, "holder");
    }

    function test_OnlyTheHolderLeaves() public {
        _takeSeat(one);
        vm.prank(other);
        vm.expectRevert(abi.encodeWithSelector(Stakes.NotHolder.selector, 0, one));
        stakes.leaveSeat(0);
        vm.expectRevert(abi.encodeWithSelector(Stakes.NotHolder.selector, 5, address(0)));
        stakes.leaveSeat(5);
        vm.prank(one);
        stakes.leaveSeat(0);
        assertEq(stakes.seatCount(), 0, "seats");
        vm.prank(one);
        vm.expectRevert(abi.encodeWithSelector(Stakes.NotHolder.selector, 0, address(0)));
        stakes.leaveSeat(0);
    }

    function test_StakeComesBackAfterAWhile() public {
        _takeSeat(one);
        vm.prank(one);
        vm.expectRevert(abi.encodeWithSelector(Stakes.NotCovered.selector, one, 2500, 2501));
        stakes.unstake(1501);
        vm.prank(one);
        stakes.unstake(1500);
        // What is leaving covers no seat.
        vm.prank(one);
        vm.expectRevert(abi.encodeWithSelector(Stakes.NotCovered.selector, one, 1000, 2000));
        stakes.takeSeat();
        vm.warp(block.timestamp + 1 days);
        vm.prank(one);
        vm.expectRevert(abi.encodeWithSelector(Stakes.TooEarly.selector, block.timestamp));
        stakes.withdraw(one);
        vm.warp(block.timestamp + 1);
        vm.prank(one);
        assertEq(stakes.withdraw(other), 1500, "withdrawn");
        assertEq(token.balanceOf(other), 1500, "balance");
        vm.prank(one);
        vm.expectRevert(Stakes.NothingThere.selector);
        stakes.withdraw(one);
    }

    function test_AskingAgainBeginsTheWaitAgain() public {
        vm.prank(one);
        stakes.unstake(1000);
        vm.warp(block.timestamp + 1 days);
        vm.prank(one);
        stakes.unstake(500);
        vm.warp(block.timestamp + 1);
        vm.prank(one);
        vm.expectRevert(abi.encodeWithSelector(Stakes.TooEarly.selector, block.timestamp + 1 days - 1));
        stakes.withdraw(one);
    }

    function test_WhatWasLostMeanwhileDoesNotComeBack() public {
        vm.prank(one);
        stakes.unstake(2500);
        stakes.lose(one, 600);
        vm.warp(block.timestamp + 1 days + 1);
        vm.prank(one);
        assertEq(stakes.withdraw(one), 1900, "withdrawn");
        assertEq(stakes.getMember(one).stake, 0, "stake");
    }

    function test_WhoHasLostTooMuchIsEvicted() public {
        _takeSeat(one);
        _takeSeat(one);
        stakes.lose(one, 1500);
        vm.expectRevert(abi.encodeWithSelector(Stakes.SeatIsCovered.selector, 1));
        stakes.evict(1);
        stakes.lose(one, 1);
        stakes.evict(1);
        assertEq(stakes.seatCount(), 1, "seats");
        // One seat is covered well enough again.
        vm.expectRevert(abi.encodeWithSelector(Stakes.SeatIsCovered.selector, 0));
        stakes.evict(0);
        vm.expectRevert(abi.encodeWithSelector(Stakes.NotHolder.selector, 1, address(0)));
        stakes.evict(1);
    }

    function test_ATokenWithFeesIsRefused() public {
        FeeToken fee = new FeeToken();
        OpenStakes greedy = new OpenStakes(IERC20(address(fee)));
        fee.mint(one, 1000);
        vm.startPrank(one);
        fee.approve(address(greedy), 1000);
        vm.expectRevert(abi.encodeWithSelector(Stakes.TokenDeliversOtherAmount.selector, 1000, 900));
        greedy.deposit(1000);
    }

    /// The list at each past block is what a plain list was.
    function testFuzz_ThePastOfTheListIsKept(uint256 seed) public {
        address[][] memory past = new address[][](40);
        uint256[] memory blocks = new uint256[](past.length);
        address[] memory list = new address[](200);
        uint256 length;
        _deposit(one, 1_000_000);
        _deposit(other, 1_000_000);
        for (uint256 step = 0; step < past.length; ++step) {
            // Several changes in one block, or none.
            for (uint256 change = 0; change < seed % 4; ++change) {
                seed = uint256(keccak256(abi.encode(seed)));
                if (length == 0 || seed % 5 < 3) {
                    address who = seed % 2 == 0 ? one : other;
                    assertEq(_takeSeat(who), length, "position");
                    list[length++] = who;
                } else {
                    uint256 position = seed % length;
                    vm.prank(list[position]);
                    stakes.leaveSeat(position);
                    list[position] = list[--length];
                }
            }
            seed = uint256(keccak256(abi.encode(seed)));
            blocks[step] = block.number;
            past[step] = new address[](length);
            for (uint256 i = 0; i < length; ++i) {
                past[step][i] = list[i];
            }
            vm.roll(block.number + 1 + seed % 3);
        }
        for (uint256 step = 0; step < past.length; ++step) {
            assertEq(stakes.seatCountAfter(blocks[step]), past[step].length, "seats");
            for (uint256 i = 0; i < past[step].length; ++i) {
                assertEq(stakes.holderAfter(i, blocks[step]), past[step][i], "holder");
            }
        }
        assertEq(stakes.getMember(one).seats + stakes.getMember(other).seats, length, "seats of both");
    }

    /// What was is not changed by what comes.
    function test_ThePastStaysAsItWas() public {
        _takeSeat(one);
        _takeSeat(other);
        vm.roll(1001);
        vm.prank(one);
        stakes.leaveSeat(0);
        _takeSeat(other);
        vm.roll(1010);
        _takeSeat(one);
        vm.roll(1011);
        assertEq(stakes.seatCountAfter(999), 0, "before");
        assertEq(stakes.seatCountAfter(1000), 2, "after the first block");
        assertEq(stakes.holderAfter(0, 1000), one, "first seat");
        assertEq(stakes.holderAfter(1, 1000), other, "second seat");
        assertEq(stakes.seatCountAfter(1005), 2, "later");
        assertEq(stakes.holderAfter(0, 1005), other, "the last moved to the hole");
        assertEq(stakes.holderAfter(1, 1005), other, "a new one");
        assertEq(stakes.seatCountAfter(1010), 3, "in the end");
        assertEq(stakes.holderAfter(2, 1010), one, "back again");
        assertEq(stakes.holderAfter(2, 1009), address(0), "not yet back");
    }
}
