#include "persist/outbox.hpp"

#include "persist/outbox.capnp.h"

#include <kj/debug.h>

namespace troupe {
namespace {

capnp::Data::Reader to_data(std::string_view bytes) {
  return {reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size()};
}

std::string_view to_view(capnp::Data::Reader data) {
  return {reinterpret_cast<const char*>(data.begin()), data.size()};
}

write decode_write(schema::LocalWrite::Reader from) {
  std::optional<table> where = table_named({from.getTable().begin(), from.getTable().size()});
  KJ_REQUIRE(where.has_value() && row_of(*where).where == scope::local, "unknown table in the outbox", from.getTable());
  write to{*where, std::string{to_view(from.getKey())}, std::nullopt};
  if (from.isValue()) to.value = std::string{to_view(from.getValue())};
  return to;
}

} // namespace

std::string encode_outbox(const local_part& part) {
  auto entry = message<schema::OutboxEntry>::make([&](schema::OutboxEntry::Builder root) {
    auto writes = root.initWrites(static_cast<uint>(part.writes.size()));
    for (uint i = 0; i < writes.size(); ++i) {
      const write& from = part.writes[i];
      writes[i].setTable(row_of(from.where).name);
      writes[i].setKey(to_data(from.key));
      if (from.value) writes[i].setValue(to_data(*from.value));
    }
    auto events = root.initEvents(static_cast<uint>(part.events.size()));
    for (uint i = 0; i < events.size(); ++i) events.set(i, to_data(part.events[i].bytes()));
  });
  return std::string{entry.bytes()};
}

local_part decode_outbox(std::string_view bytes) {
  return message<schema::OutboxEntry>::from_bytes(bytes).read([](schema::OutboxEntry::Reader root) {
    local_part part;
    for (auto from : root.getWrites()) part.writes.push_back(decode_write(from));
    for (auto event : root.getEvents()) part.events.push_back(message<schema::Event>::from_bytes(to_view(event)));
    return part;
  });
}

} // namespace troupe
