#include "gateway/rest/event_session.hpp"

#include "actors/lifecycle_event.hpp"
#include "messages/json.hpp"

#include <array>
#include <mutex>
#include <nlohmann/json.hpp>

namespace troupe {
namespace {

constexpr uint32_t window = 1024;
constexpr uint16_t policy_violation = 1008, try_again = 1013;

/// The texts of the newest events, so that each is written once for however many sockets. Any thread.
class event_texts {
public:
  std::shared_ptr<const std::string> of(const delivery& what, bool cursor) {
    std::lock_guard guard{lock_};
    auto& place = slots_[what.at.seq % slots_.size()];
    if (place.event.bytes().data() != what.event.bytes().data()) place = {what.event, {}, {}};
    auto& text = cursor ? place.with_cursor : place.plain;
    if (!text)
      text = what.event.read([&](schema::Event::Reader e) {
        return std::make_shared<const std::string>(event_json(e, cursor && e.getSeq() > 0 ? to_string(what.at) : ""));
      });
    return text;
  }

private:
  struct slot {
    message<schema::Event> event; // kept, so that its address stays its own
    std::shared_ptr<const std::string> plain, with_cursor;
  };
  std::mutex lock_;
  std::array<slot, 256> slots_;
};

event_texts& texts() {
  static event_texts all;
  return all;
}

std::string frame(std::string_view type) {
  std::string out = "{";
  write_json_name(out, "type");
  write_json_string(out, type);
  return out;
}

std::string with_cursor(std::string frame, const event_cursor& at) {
  write_json_name(frame, "cursor");
  write_json_string(frame, to_string(at));
  return frame + '}';
}

std::string row_frame(schema::Event::Reader row) {
  auto out = frame("snapshot");
  for (auto& [name, value] :
       {std::pair{"kind", row.getKind()}, std::pair{"project", row.getProject()}, std::pair{"name", row.getEntity()}}) {
    write_json_name(out, name);
    write_json_string(out, {value.begin(), value.size()});
  }
  write_json_name(out, "metadata");
  return out.append(row.getMetadata().begin(), row.getMetadata().size()) + '}';
}

std::string gap_frame(const delivery& gap) {
  auto out = frame("gap");
  write_json_name(out, "from");
  out += std::to_string(gap.gap_from);
  write_json_name(out, "to");
  out += std::to_string(gap.gap_to);
  return with_cursor(std::move(out), gap.at);
}

// Stock clients know no gaps; this is the nearest they have.
std::string gap_warning(const delivery& gap) {
  auto message = "Events " + std::to_string(gap.gap_from) + " to " + std::to_string(gap.gap_to) +
                 " were removed before this client read them";
  nlohmann::json out{{"type", "logging"},
                     {"metadata", {{"message", message}, {"level", "warning"}, {"context", nlohmann::json::object()}}},
                     {"location", gap.at.member}};
  return out.dump();
}

} // namespace

void event_session::begin(std::shared_ptr<websocket> socket, const subscription_ptr& events) {
  socket_ = socket;
  events_ = events;
  auto self = shared_from_this();
  socket->on_message([self](const std::string& text, bool) { self->hear(text); });
  socket->on_drain([self] { self->top_up(1); });
  socket->on_close([events] { events->close(); });
  events->grant(window);
}

void event_session::deliver(const delivery& what) {
  using kind = delivery::kind;
  ++owed_; // first: the queue may have run dry by the time `send` returns
  bool cursors = speaks_ == dialect::cursors;
  if (what.what == kind::event)
    send(texts().of(what, cursors));
  else if (what.what == kind::gap)
    send(cursors ? gap_frame(what) : gap_warning(what));
  else if (cursors && what.what == kind::snapshot)
    send(what.event.read(row_frame));
  else if (cursors)
    send(with_cursor(frame(what.what == kind::marker ? "marker" : "bookmark"), what.at));
  auto socket = socket_.lock();
  if (socket && socket->queued_bytes() < websocket::low_water_bytes) top_up(window / 2);
}

void event_session::top_up(uint32_t least) {
  if (owed_ < least) return;
  if (auto events = events_.lock()) events->grant(owed_.exchange(0));
}

void event_session::send(std::string text) { send(std::make_shared<const std::string>(std::move(text))); }

void event_session::send(std::shared_ptr<const std::string> text) {
  if (auto socket = socket_.lock()) socket->send_text(std::move(text));
}

void event_session::ended(const error& why) {
  auto socket = socket_.lock();
  if (!socket) return;
  if (speaks_ == dialect::cursors) {
    auto out = frame("error");
    write_json_name(out, "error");
    write_json_string(out, why.message);
    write_json_name(out, "error_code");
    send(out + std::to_string(to_http(why.code)) + '}');
  }
  socket->close(why.code == fault::busy ? try_again : policy_violation);
}

// {"ack": "epoch:member:seq"}: everything up to there is done. An LXD client may say what it likes.
void event_session::hear(const std::string& text) {
  if (speaks_ == dialect::lxd) return;
  auto said = nlohmann::json::parse(text, nullptr, false);
  if (!said.is_object() || said.size() != 1 || !said.contains("ack") || !said["ack"].is_string())
    return ended({fault::invalid, R"(The only message known here is {"ack": "EPOCH:MEMBER:SEQ"})"});
  auto cursor = parse_event_cursor(said["ack"].get<std::string>());
  if (!cursor) return ended(cursor.error());
  if (auto events = events_.lock()) events->acknowledge(cursor->seq);
}

} // namespace troupe
