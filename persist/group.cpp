#include "persist/group.hpp"

#include "persist/event_log.hpp"
#include "persist/keys.hpp"

#include <chrono>
#include <kj/exception.h>

namespace troupe {
namespace {

constexpr size_t key_bytes_max = 511; // LMDB's

bool writes_cluster(const batch& b) {
  for (const write& w : b.writes)
    if (row_of(w.where).where == scope::cluster) return true;
  return false;
}

outcome<void> check_key(std::string_view key) {
  if (key.empty()) return fail(fault::invalid, "The key of a record is empty");
  if (key.size() > key_bytes_max) return fail(fault::invalid, "The key of a record is longer than 511 bytes");
  return {};
}

outcome<void> check_write(const write& w) {
  bool own = w.where == table::meta && w.key.starts_with(own_meta_prefix);
  if (own || !row_of(w.where).writable)
    return fail(fault::invalid,
                std::string{"Records of the store's own in "} + row_of(w.where).name + " cannot be set");
  return check_key(w.key);
}

outcome<void> check_event(const message<schema::Event>& event) {
  try {
    if (history_of(event).size() + 8 > key_bytes_max)
      return fail(fault::invalid, "The project, kind and entity of an event are too long together");
    return {};
  } catch (const kj::Exception& e) {
    return fail(fault::invalid, std::string{"An event does not parse: "} + e.getDescription().cStr());
  }
}

outcome<void> check_batch(const batch& b) {
  for (const condition& c : b.conditions)
    if (auto ok = check_key(c.key); !ok) return ok;
  for (const write& w : b.writes)
    if (auto ok = check_write(w); !ok) return ok;
  for (const auto& event : b.events)
    if (auto ok = check_event(event); !ok) return ok;
  return {};
}

int64_t wall_clock_ns() {
  using namespace std::chrono;
  return duration_cast<nanoseconds>(system_clock::now().time_since_epoch()).count();
}

// Generous: every record may split its leaf and touch a branch or two on the way.
size_t pages_bound_bytes(const std::vector<std::pair<uint64_t, local_part>>& parts) {
  size_t bytes = 0;
  auto add = [&bytes](size_t record) { bytes += 2 * record + size_t{6} * 4096; };
  for (const auto& [index, part] : parts) {
    for (const write& w : part.writes) add(w.value ? w.value->size() : 0);
    for (const auto& event : part.events) add(event.bytes().size());
  }
  return bytes;
}

} // namespace

group::group(store_state& state, std::span<const batch> batches)
    : state_{state}, batches_{batches}, now_{wall_clock_ns()} {
  results_.reserve(batches.size());
  for (const batch& b : batches) {
    auto ok = check_batch(b);
    if (ok)
      results_.emplace_back(committed{});
    else
      results_.emplace_back(tl::unexpected{ok.error()});
    wants_cluster_ = wants_cluster_ || (ok && writes_cluster(b));
  }
}

std::vector<outcome<committed>> group::run() {
  std::vector<outcome<committed>> checked = results_;
  auto done = guarded([&] {
    if (state_.behind) {
      state_.local->heal();
      state_.drain();
      state_.behind = false;
    }
    with_recovery([&] {
      results_ = checked;
      attempt();
    });
  });
  if (!done) {
    results_ = std::move(checked);
    fail_all(done.error());
    state_.sync_next = true;
    state_.cluster->heal();
    state_.local->heal();
  }
  return std::move(results_);
}

void group::attempt() {
  // A failed attempt leaves by an exception; nothing of it may stay for the next.
  cluster_view_.reset();
  cluster_.reset();
  local_parts_.clear();
  undo_.clear();
  index_ = state_.index;
  seq_ = state_.last_seq;

  struct release {
    group& g;
    ~release() {
      g.cluster_.reset();
      g.cluster_view_.reset();
    }
  } at_end{*this};
  if (wants_cluster_) cluster_.emplace(*state_.cluster);
  std::optional<write_txn> local{std::in_place, *state_.local};
  for (size_t i = 0; i < batches_.size(); ++i)
    if (results_[i]) apply(i, *local);

  if (undo_.empty()) {
    if (index_ == state_.index) return;
    carry_out(*local);
    local->commit();
    return remember(true);
  }
  decide();
  try {
    if (!local_parts_.empty()) {
      carry_out(*local);
      // The outbox can repeat this transaction, so its meta page may wait for the next sync.
      local->commit(state_.sync_next ? durability::full : durability::lazy);
    }
    remember(state_.sync_next && !local_parts_.empty());
  } catch (const lmdb_failure&) {
    local.reset();
    complete_or_undo();
  }
}

bool group::holds(const batch& b, const write_txn& local) {
  for (const condition& c : b.conditions) {
    std::optional<std::string_view> found;
    if (row_of(c.where).where == scope::local) {
      found = local.get(c.where, c.key);
    } else if (cluster_) {
      found = cluster_->get(c.where, c.key);
    } else {
      if (!cluster_view_) cluster_view_.emplace(*state_.cluster);
      found = cluster_view_->get(c.where, c.key);
    }
    if (found.has_value() != c.value.has_value() || (found && *found != *c.value)) return false;
  }
  return true;
}

void group::apply(size_t number, write_txn& local) {
  const batch& b = batches_[number];
  if (!holds(b, local)) {
    results_[number] = fail(fault::precondition, "The record has changed meanwhile");
    return;
  }
  local_part part;
  for (const write& w : b.writes) {
    if (row_of(w.where).where == scope::cluster) {
      apply_cluster(w);
      continue;
    }
    w.value ? local.put(w.where, w.key, *w.value) : local.erase(w.where, w.key);
    part.writes.push_back(w);
  }
  for (const auto& event : b.events) {
    ++seq_;
    part.events.push_back(stamp_event(event, state_.epoch, state_.member, seq_, now_));
    append_event(local, part.events.back(), seq_);
  }
  ++index_;
  results_[number] = committed{index_, part.events};
  if (!part.empty()) local_parts_.emplace_back(index_, std::move(part));
}

void group::apply_cluster(const write& w) {
  std::optional<std::string_view> before = cluster_->get(w.where, w.key);
  undo_.push_back({w.where, w.key, before ? std::optional<std::string>{*before} : std::nullopt});
  w.value ? cluster_->put(w.where, w.key, *w.value) : cluster_->erase(w.where, w.key);
}

/// The cluster transaction is the decision: what local.mdb still has to do goes with it.
void group::decide() {
  std::vector<std::string> carried_out;
  std::string last = encode_number(state_.durable_index);
  cluster_->scan(table::outbox, {}, [&](std::string_view key, std::string_view) {
    if (key > last) return false;
    carried_out.emplace_back(key);
    return true;
  });
  for (const std::string& key : carried_out) cluster_->erase(table::outbox, key);
  for (const auto& [index, part] : local_parts_)
    cluster_->put(table::outbox, encode_number(index), encode_outbox(part));
  cluster_->put(table::meta, index_key, encode_number(index_));
  // So that a full disk says no before the decision, not after it.
  if (!local_parts_.empty()) state_.local->reserve(pages_bound_bytes(local_parts_));
  cluster_->commit();
}

void group::carry_out(write_txn& local) { store_state::put_position(local, index_, seq_); }

void group::remember(bool local_on_disk) {
  if (local_on_disk) {
    state_.local_index = state_.durable_index = index_;
    state_.sync_next = false;
  } else if (!local_parts_.empty()) {
    // This commit has flushed the meta page of the one before.
    state_.durable_index = state_.local_index;
    state_.local_index = index_;
  }
  state_.index = index_;
  state_.last_seq = seq_;
}

/// The change is decided, but local.mdb did not take its part.
void group::complete_or_undo() {
  state_.sync_next = true;
  state_.local->heal();
  auto drained = guarded([&] { state_.drain(); });
  if (drained) {
    state_.index = index_;
    return;
  }
  auto undone = guarded([&] { with_recovery([&] { undo(); }); });
  if (!undone) {
    state_.index = index_;
    state_.behind = true;
  }
  fail_all(drained.error());
}

void group::undo() {
  cluster_.reset();
  write_txn txn{*state_.cluster};
  for (size_t i = undo_.size(); i-- > 0;) {
    const write& w = undo_[i];
    w.value ? txn.put(w.where, w.key, *w.value) : txn.erase(w.where, w.key);
  }
  for (const auto& [index, part] : local_parts_) txn.erase(table::outbox, encode_number(index));
  txn.put(table::meta, index_key, encode_number(state_.index));
  txn.commit();
}

void group::fail_all(const error& why) {
  error shown = why;
  if (shown.code == fault::internal) shown.code = fault::backend_failed;
  for (auto& result : results_)
    if (result) result = tl::unexpected{shown};
}

} // namespace troupe
