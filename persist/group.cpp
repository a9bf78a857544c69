#include "persist/group.hpp"

#include "persist/event_log.hpp"
#include "persist/keys.hpp"

#include <chrono>
#include <kj/exception.h>

namespace troupe {
namespace {

constexpr size_t key_bytes_max = 511; // LMDB's

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

} // namespace

group::group(store_state& state, std::span<const batch> batches)
    : state_{state}, batches_{batches}, now_{wall_clock_ns()}, next_{*state.newest()} {
  base_ = next_.index;
  results_.reserve(batches.size());
  for (const batch& b : batches) {
    auto ok = check_batch(b);
    if (ok)
      results_.emplace_back(committed{});
    else
      results_.emplace_back(tl::unexpected{ok.error()});
  }
}

std::vector<outcome<committed>> group::run() {
  auto done = guarded([&] {
    for (size_t i = 0; i < batches_.size(); ++i)
      if (results_[i]) apply(i);
  });
  for (auto& view : views_) view.reset();
  if (done && next_.index == base_) return std::move(results_);
  if (done) done = log();
  if (done)
    state_.publish(std::move(next_));
  else
    fail_all(done.error());
  return std::move(results_);
}

bool group::holds(const batch& b) {
  for (const condition& c : b.conditions) {
    std::optional<std::string_view> found;
    if (const memtable::entry* recent = next_.recent.find(c.where, c.key)) {
      found = recent->value;
    } else {
      scope where = row_of(c.where).where;
      auto& view = views_[static_cast<size_t>(where)];
      if (!view) view.emplace(state_.of(where));
      found = view->get(c.where, c.key);
    }
    if (found != c.value) return false;
  }
  return true;
}

void group::put(table where, std::string key, std::optional<std::string> value) {
  next_.recent.put(where, {key, value, next_.index}, base_);
  record_.writes.push_back({where, std::move(key), std::move(value)});
}

void group::apply(size_t number) {
  const batch& b = batches_[number];
  if (!holds(b)) {
    results_[number] = fail(fault::precondition, "The record has changed meanwhile");
    return;
  }
  committed done{++next_.index, {}};
  for (const write& w : b.writes) put(w.where, w.key, w.value);
  for (const auto& event : b.events) {
    uint64_t seq = ++next_.last_seq;
    const auto& stamped = done.events.emplace_back(stamp_event(event, state_.epoch, state_.member, seq, now_));
    std::string key = event_key(seq), history = history_of(stamped);
    put(table::events, key, std::string{stamped.bytes()});
    if (!history.empty()) put(table::history, history + key, std::string{});
  }
  results_[number] = std::move(done);
}

/// The decision: what is in the log has happened.
outcome<void> group::log() {
  record_.last_seq = next_.last_seq;
  std::string bytes = encode_record(record_);
  if (!state_.log.fits(bytes.size(), state_.newest()->checkpointed))
    if (auto made_room = state_.checkpoint(); !made_room) return made_room;
  return state_.log.append(base_ + 1, next_.index, bytes, state_.newest()->checkpointed);
}

void group::fail_all(const error& why) {
  error shown = why;
  if (shown.code == fault::internal) shown.code = fault::backend_failed;
  for (auto& result : results_)
    if (result) result = tl::unexpected{shown};
}

} // namespace troupe
