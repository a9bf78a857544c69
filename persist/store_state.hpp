#pragma once

#include "messages/unique_fd.hpp"
#include "persist/outbox.hpp"

#include <atomic>

namespace troupe {

/// What the writer knows; the numbers that readers may ask for are atomic.
struct store_state {
  unique_fd lock; // of the folder; last to go
  std::unique_ptr<environment> cluster;
  std::unique_ptr<environment> local;
  std::string member;
  uint32_t epoch = 1;
  std::atomic<uint64_t> first_seq = 1;
  std::atomic<uint64_t> last_seq = 0;
  uint64_t index = 0;         // of the last commit
  uint64_t local_index = 0;   // of the last commit that is in local.mdb
  uint64_t durable_index = 0; // the same, and no power cut takes it back: outbox entries up to it may go
  bool sync_next = false;     // after a failure: the disk may have lost what an earlier lazy commit left to it
  bool behind = false;        // the outbox has what local.mdb does not, and the disk refuses to take it

  /// Keeps both numbers at the end of a local transaction.
  static void put_position(write_txn& txn, uint64_t index, uint64_t last_seq);
  /// Reads all of the above from the files.
  void load();
  /// Applies what the outbox has and local.mdb has not. Idempotent. Throws lmdb_failure, kj::Exception.
  void drain();
};

/// The error of the exception being handled.
error current_error();

/// Whatever `work` throws, as an error.
template <class Work>
outcome<void> guarded(Work&& work) {
  try {
    work();
    return {};
  } catch (...) {
    return tl::unexpected{current_error()};
  }
}

/// Runs `work` (one whole transaction) again as long as its environment can do something about the failure.
template <class Work>
void with_recovery(Work&& work) {
  for (int attempt = 0;; ++attempt) {
    lmdb_failure failure{};
    try {
      return work();
    } catch (const lmdb_failure& e) {
      failure = e; // recovered outside: the transactions of `work` are gone by then
    }
    if (attempt == 40 || !failure.where->recover(failure.code)) throw failure;
  }
}

} // namespace troupe
