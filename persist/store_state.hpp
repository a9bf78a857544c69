#pragma once

#include "messages/unique_fd.hpp"
#include "persist/memtable.hpp"
#include "persist/transaction.hpp"
#include "persist/write_ahead_log.hpp"

#include <atomic>
#include <mutex>

namespace troupe {

/// What readers see: LMDB with this on top.
struct version {
  memtable recent;
  uint64_t index = 0;        // of the last commit
  uint64_t last_seq = 0;     // of the last event
  uint64_t checkpointed = 0; // commits up to this index are in LMDB and no longer in `recent`
};

/// What the parts of the store share. The writer's thread changes `log` and publishes versions; the checkpoint, on
/// whichever thread, writes LMDB.
struct store_state {
  unique_fd lock; // of the folder; last to go
  std::unique_ptr<environment> cluster;
  std::unique_ptr<environment> local;
  std::string member;
  uint32_t epoch = 1;
  std::atomic<uint64_t> first_seq = 1;

  write_ahead_log log;

  mutable std::mutex publishing;
  std::shared_ptr<const version> current = std::make_shared<version>(); // under `publishing`

  std::mutex writing_lmdb; // before `publishing`

  std::shared_ptr<const version> newest() const;
  /// Makes the writer's next version what readers see.
  void publish(version next);

  /// Brings LMDB up to the newest version; what was in the log is free then. Nothing has changed after a failure, and
  /// the log keeps it all. May wait for readers (a map that grows): the caller must not hold a snapshot.
  outcome<void> checkpoint();

  /// A version's part of one environment, and how far it has come with it. Throws lmdb_failure.
  void write_part(scope where, const version& from);

  environment& of(scope where) { return where == scope::cluster ? *cluster : *local; }
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
