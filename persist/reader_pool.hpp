#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <vector>

struct MDB_txn;

namespace troupe {

/// The idle read transactions of one environment (a renewed one costs a tenth of a new one), and the gate that keeps
/// readers out while the map moves. Thread-safe.
class reader_pool {
public:
  /// Before reading: an idle transaction, or null when the caller must begin one. Waits while the gate is closed.
  MDB_txn* enter();
  /// After reading. Returns false when the pool is full and the caller must abort `idle`. Null: there is none to keep.
  bool leave(MDB_txn* idle);

  /// Waits until nobody reads and keeps everybody out; gives the idle transactions to the caller.
  std::vector<MDB_txn*> close();
  void reopen();

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<MDB_txn*> idle_;
  size_t reading_ = 0;
  bool closing_ = false;
  bool closed_ = false;
};

} // namespace troupe
