#include "persist/reader_pool.hpp"

#include <chrono>
#include <utility>

namespace troupe {
namespace {

constexpr size_t idle_max = 128;

// How long a new reader lets a waiting close() go first. Bounded, because this thread may itself hold the snapshot that
// close() waits for.
constexpr std::chrono::milliseconds courtesy{20};

} // namespace

MDB_txn* reader_pool::enter() {
  std::unique_lock lock{mutex_};
  if (closing_) changed_.wait_for(lock, courtesy, [this] { return !closing_; });
  changed_.wait(lock, [this] { return !closed_; });
  ++reading_;
  if (idle_.empty()) return nullptr;
  MDB_txn* txn = idle_.back();
  idle_.pop_back();
  return txn;
}

bool reader_pool::leave(MDB_txn* idle) {
  std::lock_guard lock{mutex_};
  bool kept = !idle || idle_.size() < idle_max;
  if (idle && kept) idle_.push_back(idle);
  if (--reading_ == 0 && closing_) changed_.notify_all();
  return kept;
}

std::vector<MDB_txn*> reader_pool::close() {
  std::unique_lock lock{mutex_};
  closing_ = true;
  changed_.wait(lock, [this] { return reading_ == 0; });
  closing_ = false;
  closed_ = true;
  return std::exchange(idle_, {});
}

void reader_pool::reopen() {
  std::lock_guard lock{mutex_};
  closed_ = false;
  changed_.notify_all();
}

} // namespace troupe
