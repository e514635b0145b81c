;; A stepper that uses much of what a run consists of: data, model, random bytes, clock, floats, memory growth,
;; globals, files that grow, standard output. It ends after 60 steps.
(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_readdir" (func $fd_readdir (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (memory (export "memory") 4 16)
  (global $step (mut i32) (i32.const 0))
  (global $sum (mut f64) (f64.const 0))
  (global $weights (mut i32) (i32.const 0))
  (global $metrics (mut i32) (i32.const 0))
  (data (i32.const 16) "data")
  (data (i32.const 32) "data/table.csv")
  (data (i32.const 64) "job/model")
  (data (i32.const 96) "out/weights")
  (data (i32.const 128) "out/metrics.csv")
  (data (i32.const 160) "name,step,value\n")
  (data (i32.const 192) "steps,0,0.5\n")

  ;; Opens a path; traps when it is not there.
  (func $open (param $path i32) (param $length i32) (param $flags i32) (param $rights i64) (result i32)
    (if (call $path_open (i32.const 3) (i32.const 0) (local.get $path) (local.get $length) (local.get $flags)
          (local.get $rights) (i64.const 0) (i32.const 0) (i32.const 8))
      (then (unreachable)))
    (i32.load (i32.const 8)))

  (func $write (param $fd i32) (param $from i32) (param $length i32)
    (i32.store (i32.const 0) (local.get $from))
    (i32.store (i32.const 4) (local.get $length))
    (if (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)) (then (unreachable))))

  (func $read (param $fd i32) (param $to i32) (param $length i32)
    (i32.store (i32.const 0) (local.get $to))
    (i32.store (i32.const 4) (local.get $length))
    (if (call $fd_read (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)) (then (unreachable))))

  (func (export "_initialize"))

  (func (export "fedmkt_init") (result i32)
    ;; The data at 8192, the model at 16384, the listing of /data at 24576.
    (call $read (call $open (i32.const 32) (i32.const 14) (i32.const 0) (i64.const 2)) (i32.const 8192) (i32.const 4096))
    (call $read (call $open (i32.const 64) (i32.const 9) (i32.const 0) (i64.const 2)) (i32.const 16384) (i32.const 4096))
    (drop (call $fd_readdir (call $open (i32.const 16) (i32.const 4) (i32.const 2) (i64.const 16384))
      (i32.const 24576) (i32.const 4096) (i64.const 0) (i32.const 8)))
    (global.set $weights (call $open (i32.const 96) (i32.const 11) (i32.const 9) (i64.const 64)))
    (global.set $metrics (call $open (i32.const 128) (i32.const 15) (i32.const 9) (i64.const 64)))
    (call $write (global.get $metrics) (i32.const 160) (i32.const 16))
    (i32.const 0))

  (func (export "fedmkt_step") (result i32)
    (local $i i32)
    (global.set $step (i32.add (global.get $step) (i32.const 1)))
    (drop (call $random_get (i32.const 32768) (i32.const 4096)))
    (drop (call $clock_time_get (i32.const 0) (i64.const 1) (i32.const 36864)))
    (loop $next
      (global.set $sum
        (f64.add (f64.mul (global.get $sum) (f64.const 0.999))
          (f64.sqrt (f64.convert_i32_u (i32.load8_u (i32.add (i32.const 8192) (i32.and (local.get $i) (i32.const 32767))))))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (i32.const 300000))))
    (f64.store (i32.add (i32.const 65536) (i32.mul (global.get $step) (i32.const 8))) (global.get $sum))
    (if (i32.eqz (i32.rem_u (global.get $step) (i32.const 10)))
      (then (drop (memory.grow (i32.const 1)))))
    (call $write (global.get $weights) (i32.const 65536) (i32.const 1000))
    (call $write (global.get $metrics) (i32.const 192) (i32.const 12))
    (call $write (i32.const 1) (i32.const 192) (i32.const 12))
    (i32.eq (global.get $step) (i32.const 60))))
