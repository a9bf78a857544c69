#include "persist/store_state.hpp"

#include "persist/keys.hpp"

#include <kj/exception.h>

namespace troupe {
namespace {

bool touches(const memtable& recent, scope where) {
  for (const table_row& row : all_tables())
    if (row.where == where && !recent.empty(row.id)) return true;
  return false;
}

} // namespace

std::shared_ptr<const version> store_state::newest() const {
  std::lock_guard guard{publishing};
  return current;
}

void store_state::publish(version next) {
  std::shared_ptr<const version> before; // dies after the lock is released: it may be the last of many entries
  std::lock_guard guard{publishing};
  if (next.checkpointed != current->checkpointed) {
    next.checkpointed = current->checkpointed;
    next.recent = next.recent.newer_than(next.checkpointed);
  }
  before = std::exchange(current, std::make_shared<const version>(std::move(next)));
}

void store_state::write_part(scope where, const version& from) {
  with_recovery([&] {
    write_txn txn{of(where)};
    for (const table_row& row : all_tables()) {
      if (row.where != where) continue;
      from.recent.scan(row.id, {}, [&](const memtable::entry& e) {
        e.value ? txn.put(row.id, e.key, *e.value) : txn.erase(row.id, e.key);
        return true;
      });
    }
    if (where == scope::cluster)
      txn.put(table::meta, index_key, encode_number(from.index));
    else
      txn.put(table::meta, position_key, encode_number(from.index) + encode_number(from.last_seq));
    txn.commit();
  });
}

outcome<void> store_state::checkpoint() {
  std::lock_guard writer{writing_lmdb};
  auto from = newest();
  if (from->index == from->checkpointed) return {};
  auto done = guarded([&] {
    // The next start reads the log from local.mdb's position on, so that comes last.
    if (touches(from->recent, scope::cluster)) write_part(scope::cluster, *from);
    write_part(scope::local, *from);
  });
  if (!done) {
    cluster->heal();
    local->heal();
    return done;
  }
  std::lock_guard guard{publishing};
  version rest = *current;
  rest.recent = rest.recent.newer_than(from->index);
  rest.checkpointed = from->index;
  current = std::make_shared<const version>(std::move(rest));
  return {};
}

error current_error() {
  try {
    throw;
  } catch (const lmdb_failure& e) {
    return e.where->to_error(e.code);
  } catch (const kj::Exception& e) {
    return {fault::corrupt, std::string{"A stored record is damaged: "} + e.getDescription().cStr()};
  } catch (const std::exception& e) {
    return {fault::internal, std::string{"The store failed: "} + e.what()};
  }
}

} // namespace troupe
