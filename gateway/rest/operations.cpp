#include "actors/lifecycle_event.hpp"
#include "actors/records.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/live_streams.hpp"
#include "gateway/rest/routes.hpp"

#include <algorithm>
#include <cctype>
#include <map>

namespace troupe {
namespace {

constexpr int64_t shown_ns = 5'000'000'000; // how long a list still shows what has ended, as LXD's does

std::string lower(std::string_view word) {
  std::string out{word};
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

// The smallest UUIDv7 of that moment: its first 48 bits are milliseconds.
std::string uuid_v7_floor(int64_t ns) {
  char text[16];
  auto ms = static_cast<uint64_t>(ns / 1'000'000);
  std::snprintf(text, sizeof text, "%08x-%04x", static_cast<unsigned>(ms >> 16), static_cast<unsigned>(ms & 0xffff));
  return text;
}

// Keys are UUIDv7, so the newest come last; only what runs or has just ended is looked at.
outcome<std::string> list_operations(const rest_request& from) {
  auto records = from.with().db.read();
  std::map<std::string, json_list> by_status;
  auto now = now_ns();
  auto show = [&](std::string_view bytes) {
    auto record = operation_record::from_bytes(bytes);
    record.read([&](schema::Operation::Reader op) {
      if (view(op.getProject()) != from.head->project) return;
      auto& list = by_status[lower(status_of(op.getState()).word)];
      if (from.recursion() > 0)
        list.next() += operation_json(record);
      else
        list.url("/1.0/operations/", view(op.getId()));
    });
  };
  std::map<std::string, bool, std::less<>> running;
  records.scan(table::journal, "", [&](std::string_view id, std::string_view) {
    running.emplace(id, true);
    if (auto bytes = records.get(table::operations, id)) show(*bytes);
    return true;
  });
  records.scan_from(table::operations, uuid_v7_floor(now - 3'600'000'000'000),
                    [&](std::string_view id, std::string_view bytes) {
                      if (running.contains(id)) return true;
                      auto ended = operation_record::from_bytes(bytes).read([](auto op) { return op.getUpdatedAt(); });
                      if (now - ended < shown_ns) show(bytes);
                      return true;
                    });
  std::string out = "{";
  for (auto& [status, list] : by_status) {
    write_json_name(out, status);
    out += std::move(list).take();
  }
  return out + "}";
}

} // namespace

void get_operations(const rest_request& from) {
  reply_from_blocking_thread(from, [from] { return list_operations(from); });
}

void get_operation(const rest_request& from) {
  auto record = load<schema::Operation>(from.with().db.read(), table::operations, from.parameter(0));
  if (record) return reply_sync(from, operation_json(*record));
  ask<operation_record>(
      from, role::operations,
      [from](const outcome<operation_record>& live) {
        if (live)
          reply_sync(from, operation_json(*live));
        else
          reply_error(from, live.error());
      },
      find_operation{from.parameter(0)});
}

void delete_operation(const rest_request& from) {
  ask<void>(
      from, role::operations,
      [from](const outcome<void>& done) {
        if (done)
          reply_sync(from, "{}");
        else
          reply_error(from, done.error());
      },
      cancel_operation{from.parameter(0), from.head});
}

void wait_operation(const rest_request& from) {
  auto& streams = from.context.streams;
  auto seconds = std::strtoll(std::string{from.http->parameter("timeout")}.c_str(), nullptr, 10);
  bool bounded = !from.http->parameter("timeout").empty() && seconds >= 0;
  uint64_t timer = 0;
  if (bounded)
    timer =
        streams.after(std::chrono::seconds{std::min<long long>(seconds, 7 * 86400)}, [from] { get_operation(from); });
  ask<operation_record>(
      from, role::operations,
      [from, timer, &streams](const outcome<operation_record>& record) {
        if (timer) streams.cancel(timer);
        if (record)
          reply_sync(from, operation_json(*record));
        else
          reply_error(from, record.error());
      },
      await_operation{from.parameter(0)});
}

void operation_websocket(const rest_request& from) {
  from.context.streams.connect(from, from.parameter(0), std::string{from.http->parameter("secret")});
}

} // namespace troupe
