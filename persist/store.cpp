#include "persist/store.hpp"

#include "persist/checkpointer.hpp"
#include "persist/event_log.hpp"
#include "persist/group.hpp"
#include "persist/keys.hpp"
#include "persist/open.hpp"

#include <stdexcept>

namespace troupe {
namespace {

constexpr size_t trim_step_events = 2000; // of one transaction

// A snapshot has no way to say that it cannot read but an exception.
template <class Work>
auto reading(Work&& work) {
  try {
    return work();
  } catch (const lmdb_failure& e) {
    throw std::runtime_error{e.where->to_error(e.code).message};
  }
}

} // namespace

struct store::data : store_state {
  std::optional<checkpointer> in_background;
};

struct snapshot::data {
  std::shared_ptr<const version> newest;
  read_txn local;
  read_txn cluster;

  const read_txn& of(table where) const { return row_of(where).where == scope::cluster ? cluster : local; }
};

snapshot::snapshot(std::unique_ptr<data> d) : data_{std::move(d)} {}
snapshot::snapshot(snapshot&&) noexcept = default;
snapshot::~snapshot() = default;

std::optional<std::string_view> snapshot::get(table where, std::string_view key) const {
  if (const memtable::entry* recent = data_->newest->recent.find(where, key)) return recent->value;
  return reading([&] { return data_->of(where).get(where, key); });
}

void snapshot::scan(table where, std::string_view prefix, const visitor& visit) const {
  scan_from(where, prefix,
            [&](std::string_view key, std::string_view value) { return key.starts_with(prefix) && visit(key, value); });
}

void snapshot::scan_from(table where, std::string_view from, const visitor& visit) const {
  memtable::cursor recent = data_->newest->recent.lower_bound(where, from);
  // A deleted record is skipped, not shown.
  auto show = [&](const memtable::entry& e) { return !e.value || visit(e.key, *e.value); };
  bool more = true;
  reading([&] {
    data_->of(where).scan(where, from, [&](std::string_view key, std::string_view value) {
      for (; more && recent.get() && recent.get()->key < key; recent.next()) more = show(*recent.get());
      if (!more) return false;
      if (!recent.get() || recent.get()->key != key) return more = visit(key, value);
      more = show(*recent.get());
      recent.next();
      return more;
    });
  });
  for (; more && recent.get(); recent.next()) more = show(*recent.get());
}

uint64_t snapshot::last_seq() const { return data_->newest->last_seq; }

store::store(std::unique_ptr<data> d) : data_{std::move(d)} {}

store::~store() {
  data_->in_background.reset();
  (void)data_->checkpoint(); // the next start has less to do; if it fails, the log has it all
}

outcome<std::unique_ptr<store>> store::open(const std::string& directory, const std::string& member,
                                            const store_options& options) {
  auto state = std::make_unique<data>();
  if (auto opened = open_state(*state, directory, member, options); !opened) return tl::unexpected{opened.error()};
  state->in_background.emplace(*state, options.checkpoint_after);
  if (state->newest()->index != state->newest()->checkpointed) state->in_background->notify(false);
  return std::unique_ptr<store>{new store{std::move(state)}};
}

snapshot store::read() const {
  return reading([&] {
    // Under the lock, so that no checkpoint takes anything from the one side that the other does not show yet.
    std::lock_guard guard{data_->publishing};
    return snapshot{std::unique_ptr<snapshot::data>{
        new snapshot::data{data_->current, read_txn{*data_->local}, read_txn{*data_->cluster}}}};
  });
}

std::vector<outcome<committed>> store::commit(std::span<const batch> batches) {
  if (batches.empty()) return {};
  auto results = group{*data_, batches}.run();
  auto newest = data_->newest();
  if (newest->index != newest->checkpointed)
    data_->in_background->notify(data_->log.wants_checkpoint(newest->checkpointed));
  return results;
}

outcome<void> store::checkpoint() { return data_->checkpoint(); }

uint32_t store::epoch() const { return data_->epoch; }
uint64_t store::last_seq() const { return data_->newest()->last_seq; }
uint64_t store::first_seq() const { return data_->first_seq; }

outcome<bool> store::trim_events(int64_t before, uint64_t keep_max, uint64_t count_max) {
  // What is removed must be in LMDB alone.
  if (auto settled = data_->checkpoint(); !settled) return tl::unexpected{settled.error()};
  std::lock_guard writer{data_->writing_lmdb};
  uint64_t end = last_seq() + 1;
  uint64_t first_kept = end > keep_max ? end - keep_max : 0;
  uint64_t begin = data_->first_seq;
  bool more = false;
  auto done = guarded([&] {
    for (uint64_t first = begin; first < end;) {
      more = first - begin >= count_max;
      if (more) return;
      uint64_t left = first;
      with_recovery([&] {
        write_txn txn{*data_->local};
        left = trim_front(txn, before, first_kept, end, trim_step_events);
        if (left != first) txn.commit();
      });
      if (left == first) return;
      data_->first_seq = first = left;
    }
  });
  if (!done) return tl::unexpected{done.error()};
  return more;
}

} // namespace troupe
