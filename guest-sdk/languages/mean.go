// The mean of the numbers in /data/numbers.txt, one in each line; a hundred lines in each step.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
)

const (
	more    = 0
	done    = 1
	refused = 2
	failed  = 3
)

var (
	lines *bufio.Scanner
	sum   float64
	count int
)

//go:wasmexport fedmkt_init
func start() int32 {
	numbers, err := os.Open("/data/numbers.txt")
	if err != nil {
		return refused
	}
	lines = bufio.NewScanner(numbers)
	return more
}

//go:wasmexport fedmkt_step
func step() int32 {
	for range 100 {
		if !lines.Scan() {
			return finish()
		}
		number, err := strconv.ParseFloat(lines.Text(), 64)
		if err != nil {
			return refused
		}
		sum += number
		count++
	}
	return more
}

func finish() int32 {
	if lines.Err() != nil || count == 0 {
		return refused
	}
	text := fmt.Sprintln(sum / float64(count))
	if os.WriteFile("/out/mean.txt", []byte(text), 0o644) != nil {
		return failed
	}
	return done
}

func main() {}
