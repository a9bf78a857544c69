#include "persist/event_log.hpp"

#include <capnp/message.h>
#include <kj/exception.h>

namespace troupe {
namespace {

struct doomed {
  uint64_t seq;
  std::string history;
};

// What does not parse has no time and no history: it goes as soon as it is at the front.
std::optional<doomed> judge(uint64_t seq, std::string_view bytes, int64_t before, uint64_t first_kept) {
  try {
    auto event = message<schema::Event>::from_bytes(bytes);
    bool old = event.read([&](schema::Event::Reader e) { return e.getTime() < before; });
    if (!old && seq >= first_kept) return std::nullopt;
    return doomed{seq, history_of(event)};
  } catch (const kj::Exception&) {
    return doomed{seq, {}};
  }
}

} // namespace

message<schema::Event> stamp_event(const message<schema::Event>& event, uint32_t epoch, const std::string& member,
                                   uint64_t seq, int64_t now) {
  return event.read([&](schema::Event::Reader e) {
    // One segment with room for the member's name, so that the copy is one allocation and stays flat.
    capnp::MallocMessageBuilder builder{static_cast<uint>(event.bytes().size() / sizeof(capnp::word) + 64)};
    builder.setRoot(e);
    auto root = builder.getRoot<schema::Event>();
    root.setEpoch(epoch);
    root.setSeq(seq);
    if (e.getMember() != member) root.setMember(member);
    if (e.getTime() == 0) root.setTime(now);
    return message<schema::Event>::of(builder);
  });
}

std::string history_of(const message<schema::Event>& event) {
  return event.read([](schema::Event::Reader e) {
    auto view = [](capnp::Text::Reader t) { return std::string_view{t.begin(), t.size()}; };
    if (e.getKind().size() == 0) return std::string{};
    return history_prefix(view(e.getKind()), view(e.getProject()), view(e.getEntity()));
  });
}

uint64_t trim_front(write_txn& local, int64_t before, uint64_t first_kept, uint64_t end, size_t count_max) {
  std::vector<doomed> front;
  uint64_t first_left = end;
  local.scan(table::events, {}, [&](std::string_view key, std::string_view bytes) {
    first_left = event_seq(key);
    if (front.size() == count_max) return false;
    std::optional<doomed> verdict = judge(first_left, bytes, before, first_kept);
    if (!verdict) return false;
    front.push_back(std::move(*verdict));
    first_left = end;
    return true;
  });
  for (const doomed& event : front) {
    std::string key = event_key(event.seq);
    local.erase(table::events, key);
    if (!event.history.empty()) local.erase(table::history, event.history + key);
  }
  return first_left;
}

} // namespace troupe
