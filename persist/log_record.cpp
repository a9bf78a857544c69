#include "persist/log_record.hpp"

#include "persist/log_record.capnp.h"
#include "persist/tables.hpp"

#include <kj/debug.h>

namespace troupe {
namespace {

capnp::Data::Reader to_data(std::string_view bytes) {
  return {reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size()};
}

std::string to_string(capnp::Data::Reader data) { return {reinterpret_cast<const char*>(data.begin()), data.size()}; }

write decode_write(schema::LoggedWrite::Reader from) {
  std::optional<table> where = table_named({from.getTable().begin(), from.getTable().size()});
  KJ_REQUIRE(where.has_value(), "unknown table in the log", from.getTable());
  write to{*where, to_string(from.getKey()), std::nullopt};
  if (from.isValue()) to.value = to_string(from.getValue());
  return to;
}

} // namespace

std::string encode_record(const log_record& record) {
  auto encoded = message<schema::LogRecord>::make([&](schema::LogRecord::Builder root) {
    root.setLastSeq(record.last_seq);
    auto writes = root.initWrites(static_cast<uint>(record.writes.size()));
    for (uint i = 0; i < writes.size(); ++i) {
      const write& from = record.writes[i];
      writes[i].setTable(row_of(from.where).name);
      writes[i].setKey(to_data(from.key));
      if (from.value) writes[i].setValue(to_data(*from.value));
    }
  });
  return std::string{encoded.bytes()};
}

log_record decode_record(std::string_view bytes) {
  return message<schema::LogRecord>::from_bytes(bytes).read([](schema::LogRecord::Reader root) {
    log_record record;
    record.last_seq = root.getLastSeq();
    for (auto from : root.getWrites()) record.writes.push_back(decode_write(from));
    return record;
  });
}

} // namespace troupe
