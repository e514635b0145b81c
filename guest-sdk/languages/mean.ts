// The mean of the bytes of /data/numbers.bin, 4096 of them in each step.
import {
  errno, fd, fd_close, fd_read, fd_write, oflags, path_open, rights,
} from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";

const MORE = 0, DONE = 1, REFUSED = 2, FAILED = 3;
const ROOT: fd = 3; // the tree of /data, /job, /out and /tmp is one directory, open from the start

const buffer = new ArrayBuffer(4096);
const vector = memory.data(16);
const number = memory.data(8);
let numbers: fd = 0;
let sum: f64 = 0;
let count: u64 = 0;

function open(path: string, flags: oflags, right: rights): fd {
  const name = String.UTF8.encode(path);
  const error = path_open(ROOT, 0, changetype<usize>(name), name.byteLength, flags, right, 0, 0, number);
  return error == errno.SUCCESS ? load<fd>(number) : 0;
}

export function fedmkt_init(): i32 {
  numbers = open("data/numbers.bin", 0, rights.FD_READ);
  return numbers ? MORE : REFUSED;
}

export function fedmkt_step(): i32 {
  store<usize>(vector, changetype<usize>(buffer), 0);
  store<usize>(vector, buffer.byteLength, 4);
  if (fd_read(numbers, vector, 1, number) != errno.SUCCESS) return FAILED;
  const length = load<u32>(number);
  if (!length) return finish();
  const bytes = Uint8Array.wrap(buffer, 0, length);
  for (let i = 0; i < bytes.length; i++) sum += bytes[i];
  count += length;
  return MORE;
}

function finish(): i32 {
  if (!count) return REFUSED;
  const text = String.UTF8.encode((sum / f64(count)).toString() + "\n");
  const out = open("out/mean.txt", oflags.CREAT | oflags.TRUNC, rights.FD_WRITE);
  store<usize>(vector, changetype<usize>(text), 0);
  store<usize>(vector, text.byteLength, 4);
  if (!out || fd_write(out, vector, 1, number) != errno.SUCCESS) return FAILED;
  return fd_close(out) == errno.SUCCESS ? DONE : FAILED;
}
