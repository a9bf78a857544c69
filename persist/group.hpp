#pragma once

#include "persist/log_record.hpp"
#include "persist/store_state.hpp"

namespace troupe {

/// One call of store::commit: the batches that share a record of the log. Used once.
class group {
public:
  group(store_state& state, std::span<const batch> batches);
  std::vector<outcome<committed>> run();

private:
  void apply(size_t number);
  bool holds(const batch& b);
  void put(table where, std::string key, std::optional<std::string> value);
  outcome<void> log();
  void fail_all(const error& why);

  store_state& state_;
  std::span<const batch> batches_;
  std::vector<outcome<committed>> results_;
  int64_t now_;
  uint64_t base_; // index before this group
  version next_;
  log_record record_;
  std::optional<read_txn> views_[2]; // by scope, for conditions
};

} // namespace troupe
