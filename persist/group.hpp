#pragma once

#include "persist/store_state.hpp"

namespace troupe {

/// One call of store::commit: the batches that share a transaction per environment. Used once.
class group {
public:
  group(store_state& state, std::span<const batch> batches);
  std::vector<outcome<committed>> run();

private:
  void attempt();
  void apply(size_t number, write_txn& local);
  bool holds(const batch& b, const write_txn& local);
  void apply_cluster(const write& w);
  void decide();
  void carry_out(write_txn& local);
  void complete_or_undo();
  void undo();
  void remember(bool local_on_disk);
  void fail_all(const error& why);

  store_state& state_;
  std::span<const batch> batches_;
  std::vector<outcome<committed>> results_;
  int64_t now_;
  bool wants_cluster_ = false;

  // Of the current attempt.
  std::optional<write_txn> cluster_;
  std::optional<read_txn> cluster_view_;                     // for conditions, when nothing is written there
  std::vector<std::pair<uint64_t, local_part>> local_parts_; // by index
  std::vector<write> undo_;                                  // cluster records as they were
  uint64_t index_ = 0;
  uint64_t seq_ = 0;
};

} // namespace troupe
