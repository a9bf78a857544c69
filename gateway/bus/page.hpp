#pragma once

#include "actors/records.hpp"
#include "gateway/bus/ask.hpp"

#include <algorithm>

namespace troupe::on_bus {

constexpr uint32_t page_max = 1000;

/// The records of one page of a table, in key order, and the last one's name if there are more.
struct page_records {
  std::vector<std::pair<std::string, std::string>> rows; // name (key without the prefix), bytes
  std::string next;
};

/// `wanted(name, bytes)`: false leaves a record out.
template <class Wanted>
page_records read_page(const snapshot& records, table where, const std::string& prefix, const std::string& after,
                       uint32_t limit, Wanted wanted) {
  page_records out;
  auto most = limit == 0 ? page_max : std::min(limit, page_max);
  auto from = prefix + after + (after.empty() ? "" : std::string{'\0'});
  auto visit = [&](std::string_view key, std::string_view bytes) {
    if (!key.starts_with(prefix)) return false;
    auto name = key.substr(prefix.size());
    if (!wanted(name, bytes)) return true;
    if (out.rows.size() == most) {
      out.next = out.rows.back().first;
      return false;
    }
    out.rows.emplace_back(name, bytes);
    return true;
  };
  if (from.empty())
    records.scan(where, "", visit);
  else
    records.scan_from(where, from, visit);
  return out;
}

/// Answers a list method on a blocking thread; `fill(item builder, snapshot, record reader)`.
template <class Results, class Record, class Fill>
kj::Promise<void> reply_page(const call_ptr& c, bus::Page::Reader page, table where, const std::string& prefix,
                             Fill fill) {
  return reply_from_blocking_thread(c,
                                    [&db = c->with().db, where, prefix, after = text(page.getAfter()),
                                     limit = page.getLimit(), fill]() -> outcome<message<Results>> {
                                      auto records = db.read();
                                      auto found = read_page(records, where, prefix, after, limit,
                                                             [](auto, auto) { return true; });
                                      return message<Results>::make([&](typename Results::Builder out) {
                                        auto items = out.initItems(static_cast<unsigned>(found.rows.size()));
                                        for (unsigned i = 0; i < found.rows.size(); ++i)
                                          message<Record>::from_bytes(found.rows[i].second).read([&](auto record) {
                                            fill(items[i], records, record);
                                          });
                                        out.setNext(found.next);
                                      });
                                    });
}

} // namespace troupe::on_bus
