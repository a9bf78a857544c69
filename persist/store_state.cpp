#include "persist/store_state.hpp"

#include "persist/event_log.hpp"
#include "persist/keys.hpp"

#include <algorithm>
#include <kj/exception.h>

namespace troupe {

void store_state::put_position(write_txn& txn, uint64_t index, uint64_t last_seq) {
  txn.put(table::meta, position_key, encode_number(index) + encode_number(last_seq));
}

void store_state::load() {
  read_txn from_local{*local};
  auto position = from_local.get(table::meta, position_key);
  local_index = position ? decode_number(*position) : 0;
  last_seq = position ? decode_number(position->substr(8)) : 0;
  durable_index = local_index;

  first_seq = last_seq + 1;
  from_local.scan(table::events, {}, [&](std::string_view key, std::string_view) {
    first_seq = event_seq(key);
    return false;
  });

  read_txn from_cluster{*cluster};
  auto cluster_index = from_cluster.get(table::meta, index_key);
  index = std::max(local_index, cluster_index ? decode_number(*cluster_index) : 0);
}

void store_state::drain() {
  read_txn decided{*cluster};
  with_recovery([&] {
    write_txn txn{*local};
    auto position = txn.get(table::meta, position_key);
    uint64_t done = position ? decode_number(*position) : 0;
    uint64_t seq = position ? decode_number(position->substr(8)) : 0;
    uint64_t before = done;
    decided.scan(table::outbox, encode_number(done + 1), [&](std::string_view key, std::string_view bytes) {
      local_part part = decode_outbox(bytes);
      for (const write& w : part.writes) w.value ? txn.put(w.where, w.key, *w.value) : txn.erase(w.where, w.key);
      for (const auto& event : part.events) {
        ++seq;
        append_event(txn, stamp_event(event, epoch, member, seq, 0), seq);
      }
      done = decode_number(key);
      return true;
    });
    if (done == before) return;
    put_position(txn, done, seq);
    txn.commit();
    local_index = durable_index = done;
    sync_next = false;
    last_seq = seq;
  });
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
