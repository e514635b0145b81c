// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.35;

import {HashTree} from "../src/HashTree.sol";
import {StateHeader} from "../src/StateHeader.sol";
import {Level, Trace} from "../src/Trace.sol";
import {BlindHash, Cid, DataRoot, JobRoot, ResultFile, RunId, SizeClass, StateRoot, Status} from "../src/Types.sol";
import {Test} from "./Test.sol";

/// Gives libraries calldata.
contract Libraries {
    function check(bytes32 imageRoot, bytes32 node, uint256 index, uint256 depth, bytes32[] calldata siblings)
        external
        pure
    {
        HashTree.check(imageRoot, node, index, depth, siblings);
    }

    function splice(
        bytes32 imageRoot,
        bytes32 oldNode,
        bytes32 newNode,
        uint256 index,
        uint256 depth,
        bytes32[] calldata siblings
    ) external pure returns (bytes32) {
        return HashTree.splice(imageRoot, oldNode, newNode, index, depth, siblings);
    }

    function levelRoot(StateRoot[] calldata leaves) external pure returns (bytes32) {
        return Trace.root(leaves);
    }

    function below(Level memory level, uint256 index) external pure returns (Level memory) {
        return Trace.below(level, index);
    }

    function root(bytes32[] memory nodes, uint256 log2Node, uint256 log2Image) external pure returns (bytes32) {
        return HashTree.root(nodes, log2Node, log2Image);
    }
}

/// The libraries compute what `fedmkt-core` computes; `runtime/core/tests/contract_vectors.rs` writes the vectors.
contract VectorsTest is Test {
    Libraries private libraries;
    string private json;

    function setUp() public {
        libraries = new Libraries();
        json = vm.readFile("test/vectors/core.json");
    }

    function test_ZeroNodes() public view {
        bytes32[] memory zeros = vm.parseJsonBytes32Array(json, ".zeros");
        assertEq(zeros.length, 26, "how many");
        for (uint256 i = 0; i < zeros.length; ++i) {
            assertEq(HashTree.zeroNode(5 + i), zeros[i], "zero node");
        }
    }

    function test_Headers() public view {
        uint256 count;
        for (; vm.keyExistsJson(json, _key("headers", count)); ++count) {
            string memory place = _key("headers", count);
            StateHeader.Identity memory identity = StateHeader.Identity(
                bytes32(bytes(vm.parseJsonString(json, ".profile"))),
                RunId.wrap(_word(place, ".run_id")),
                JobRoot.wrap(_word(place, ".job_root")),
                DataRoot.wrap(_word(place, ".data_root")),
                BlindHash.wrap(_word(place, ".blind_hash"))
            );
            SizeClass class = SizeClass(_uint(place, ".class"));
            StateHeader.End memory end = StateHeader.End(
                uint64(_uint(place, ".steps")),
                Status(_uint(place, ".status")),
                uint32(_uint(place, ".exit_code")),
                _files(place)
            );
            assertEq(StateRoot.unwrap(StateHeader.firstState(identity, class)), _word(place, ".first"), "first state");
            assertEq(StateRoot.unwrap(StateHeader.lastState(identity, class, end)), _word(place, ".last"), "last state");
        }
        assertEq(count, 11, "how many headers");
    }

    function test_Levels() public view {
        uint256 count;
        for (; vm.keyExistsJson(json, _key("levels", count)); ++count) {
            string memory place = _key("levels", count);
            StateRoot[] memory leaves = _states(vm.parseJsonBytes32Array(json, string.concat(place, ".leaves")));
            bytes32[] memory siblings = vm.parseJsonBytes32Array(json, string.concat(place, ".siblings"));
            bytes32 root = _word(place, ".root");
            assertEq(libraries.levelRoot(leaves), root, "level root");
            uint256 last = leaves.length - 1;
            libraries.check(root, HashTree.leaf(StateRoot.unwrap(leaves[last])), last, 8, siblings);
        }
        assertEq(count, 8, "how many levels");
    }

    function test_Cuts() public view {
        uint256 count;
        for (; vm.keyExistsJson(json, _key("cuts", count)); ++count) {
            string memory place = _key("cuts", count);
            Level memory level = Trace.top(uint64(_uint(place, ".steps")), uint64(_uint(place, ".steps_per_segment")));
            for (uint256 i = 0; vm.keyExistsJson(json, _in(place, "cut", i)); ++i) {
                string memory cut = _in(place, "cut", i);
                assertEq(Trace.parts(level), _uint(cut, ".parts"), "parts");
                level = Trace.below(level, _uint(cut, ".index"));
                assertEq(level.first, _uint(cut, ".first"), "first");
                assertEq(level.steps, _uint(cut, ".steps"), "steps");
                assertEq(level.part, _uint(cut, ".part"), "part");
            }
            assertEq(level.steps, 1, "the end is one step");
        }
        assertEq(count, 5, "how many runs");
    }

    function test_Splices() public view {
        uint256 count;
        for (; vm.keyExistsJson(json, _key("splices", count)); ++count) {
            string memory place = _key("splices", count);
            bytes32 root = libraries.splice(
                _word(place, ".old_root"),
                _word(place, ".old"),
                _word(place, ".new"),
                _uint(place, ".index"),
                _uint(place, ".depth"),
                vm.parseJsonBytes32Array(json, string.concat(place, ".siblings"))
            );
            assertEq(root, _word(place, ".new_root"), "root after the splice");
        }
        assertEq(count, 3, "how many splices");
    }

    function _files(string memory place) private view returns (ResultFile[] memory files) {
        uint256 count;
        while (vm.keyExistsJson(json, _in(place, "files", count))) ++count;
        files = new ResultFile[](count);
        for (uint256 i = 0; i < count; ++i) {
            string memory file = _in(place, "files", i);
            Cid memory cid = Cid(_word(file, ".digest"), uint8(_uint(file, ".codec")));
            files[i] = ResultFile(uint64(_uint(file, ".size")), _word(file, ".root"), cid);
        }
    }

    function _states(bytes32[] memory words) private pure returns (StateRoot[] memory states) {
        states = new StateRoot[](words.length);
        for (uint256 i = 0; i < words.length; ++i) {
            states[i] = StateRoot.wrap(words[i]);
        }
    }

    function _key(string memory list, uint256 index) private pure returns (string memory) {
        return _in("", list, index);
    }

    function _in(string memory place, string memory list, uint256 index) private pure returns (string memory) {
        return string.concat(place, ".", list, "[", vm.toString(index), "]");
    }

    function _word(string memory place, string memory field) private view returns (bytes32) {
        return vm.parseJsonBytes32(json, string.concat(place, field));
    }

    function _uint(string memory place, string memory field) private view returns (uint256) {
        return vm.parseJsonUint(json, string.concat(place, field));
    }
}
