//! The mean of the numbers in /data/numbers.txt, one in each line; a hundred lines in each step.
const FILE = opaque {};
extern "c" fn fopen(path: [*:0]const u8, mode: [*:0]const u8) ?*FILE;
extern "c" fn fscanf(file: *FILE, format: [*:0]const u8, ...) c_int;
extern "c" fn fprintf(file: *FILE, format: [*:0]const u8, ...) c_int;
extern "c" fn fclose(file: *FILE) c_int;
extern fn __wasm_call_ctors() void;

const more = 0;
const done = 1;
const refused = 2;
const failed = 3;

var numbers: *FILE = undefined;
var sum: f64 = 0;
var count: u64 = 0;

export fn fedmkt_init() i32 {
    __wasm_call_ctors(); // what `_start` would have done
    return start();
}

fn start() i32 {
    numbers = fopen("/data/numbers.txt", "r") orelse return refused;
    return more;
}

export fn fedmkt_step() i32 {
    for (0..100) |_| {
        var number: f64 = 0;
        const read = fscanf(numbers, "%lf", &number);
        if (read == -1) return finish(); // the end
        if (read != 1) return refused;
        sum += number;
        count += 1;
    }
    return more;
}

fn finish() i32 {
    if (count == 0) return refused;
    const out = fopen("/out/mean.txt", "w") orelse return failed;
    _ = fprintf(out, "%.17g\n", sum / @as(f64, @floatFromInt(count)));
    return if (fclose(out) == 0) done else failed;
}

pub fn main() u8 {
    var status = start();
    while (status == more) status = fedmkt_step();
    return if (status == done) 0 else @intCast(status);
}
