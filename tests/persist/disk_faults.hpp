#pragma once

/// Faults of the disk, injected below LMDB: this program's write and sync calls are counted from the call of a function
/// here on. See disk_test.cpp.
namespace troupe::test::disk_faults {

/// The n-th call, and with `from_then_on` all after it, fails with this errno. Nothing is written by it.
void fail_at(int n, int number, bool from_then_on);
/// The next write is done and reported as failed.
void write_then_fail();
/// SIGKILL instead of the n-th call.
void kill_at(int n);
/// SIGKILL in the middle of it: a write has got half of its bytes to the disk.
void tear_at(int n);
/// The same, after undoing writes that no sync has made durable since: each with one chance in two, or all (seed 0).
void cut_power_at(int n, unsigned seed);
/// No faults any more. Returns whether one has happened.
bool clear();

} // namespace troupe::test::disk_faults
