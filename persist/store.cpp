#include "persist/store.hpp"

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

struct store::data : store_state {};

struct snapshot::data {
  // The writer commits cluster before local: taken in the other order, cluster is never the older one.
  read_txn local;
  read_txn cluster;

  const read_txn& of(table where) const { return row_of(where).where == scope::cluster ? cluster : local; }
};

snapshot::snapshot(std::unique_ptr<data> d) : data_{std::move(d)} {}
snapshot::snapshot(snapshot&&) noexcept = default;
snapshot::~snapshot() = default;

std::optional<std::string_view> snapshot::get(table where, std::string_view key) const {
  return reading([&] { return data_->of(where).get(where, key); });
}

void snapshot::scan(table where, std::string_view prefix, const visitor& visit) const {
  scan_from(where, prefix,
            [&](std::string_view key, std::string_view value) { return key.starts_with(prefix) && visit(key, value); });
}

void snapshot::scan_from(table where, std::string_view from, const visitor& visit) const {
  reading([&] { data_->of(where).scan(where, from, visit); });
}

uint64_t snapshot::last_seq() const {
  auto position = get(table::meta, position_key);
  return position ? decode_number(position->substr(8)) : 0;
}

store::store(std::unique_ptr<data> d) : data_{std::move(d)} {}

store::~store() {
  if (data_->local_index > data_->durable_index) data_->local->sync();
}

outcome<std::unique_ptr<store>> store::open(const std::string& directory, const std::string& member,
                                            const store_options& options) {
  auto state = std::make_unique<data>();
  if (auto opened = open_state(*state, directory, member, options); !opened) return tl::unexpected{opened.error()};
  return std::unique_ptr<store>{new store{std::move(state)}};
}

snapshot store::read() const {
  return reading([&] {
    return snapshot{
        std::unique_ptr<snapshot::data>{new snapshot::data{read_txn{*data_->local}, read_txn{*data_->cluster}}}};
  });
}

std::vector<outcome<committed>> store::commit(std::span<const batch> batches) {
  if (batches.empty()) return {};
  return group{*data_, batches}.run();
}

uint32_t store::epoch() const { return data_->epoch; }
uint64_t store::last_seq() const { return data_->last_seq; }
uint64_t store::first_seq() const { return data_->first_seq; }

outcome<bool> store::trim_events(int64_t before, uint64_t keep_max, uint64_t count_max) {
  uint64_t end = data_->last_seq + 1;
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
