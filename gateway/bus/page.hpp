#pragma once

#include "actors/records.hpp"
#include "gateway/bus/ask.hpp"
#include "gateway/rest/filter.hpp"
#include "gateway/visible_urls.hpp"

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

/// Throws invalid.
list_filter filter_of(bus::Page::Reader page);

/// Whether an item passes, judged as REST shows it: the fields of its `spec` beside its own.
bool passes(const list_filter& filter, capnp::DynamicStruct::Reader item);

/// The list `usedBy` of a view, as far as the caller may see it.
template <class View>
void fill_used_by(View out, const principal& who, std::vector<std::string> urls) {
  auto seen = visible_urls(who, std::move(urls));
  fill(out.initUsedBy(static_cast<unsigned>(seen.size())), seen);
}

/// Of keys that are a project's name, or begin with it: whether the caller may see that.
inline auto visible_to(const call_ptr& c) {
  return [head = c->at.head](std::string_view key) { return head->who.may_see(key.substr(0, key.find('/'))); };
}

/// Of names in the handle's project: whether the caller may see such a thing.
inline auto visible_as(const call_ptr& c, std::string type) {
  return [head = c->at.head, project = c->at.project(), type = std::move(type)](std::string_view name) {
    return head->who.may("can_view", {type, project, std::string{name}});
  };
}

/// Answers a list method on a blocking thread; `fill(item builder, snapshot, record reader)`, and `seen(name)`: false
/// leaves a record out.
template <class Results, class Record, class Fill, class Seen = bool (*)(std::string_view)>
kj::Promise<void> reply_page(
    const call_ptr& c, bus::Page::Reader page, table where, const std::string& prefix, Fill fill,
    Seen seen = [](std::string_view) { return true; }) {
  auto work = [&db = c->with().db, where, prefix, after = text(page.getAfter()), limit = page.getLimit(),
               filter = filter_of(page), fill, seen]() -> outcome<message<Results>> {
    using item_type =
        capnp::FromBuilder<std::decay_t<decltype(std::declval<typename Results::Builder>().getItems()[0])>>;
    auto records = db.read();
    auto fill_from = [&](auto item, std::string_view bytes) {
      message<Record>::from_bytes(bytes).read([&](auto record) { fill(item, records, record); });
    };
    auto wanted = [&](std::string_view name, std::string_view bytes) {
      if (!seen(name)) return false;
      if (filter.empty()) return true;
      capnp::MallocMessageBuilder scratch;
      auto item = scratch.initRoot<item_type>();
      fill_from(item, bytes);
      return passes(filter, item.asReader());
    };
    auto found = read_page(records, where, prefix, after, limit, wanted);
    return message<Results>::make([&](typename Results::Builder out) {
      auto items = out.initItems(static_cast<unsigned>(found.rows.size()));
      for (unsigned i = 0; i < found.rows.size(); ++i) fill_from(items[i], found.rows[i].second);
      out.setNext(found.next);
    });
  };
  return reply_from_blocking_thread(c, std::move(work));
}

} // namespace troupe::on_bus
