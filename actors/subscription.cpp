#include "actors/subscription.hpp"

#include "actors/event_log.hpp"

#include <caf/actor_cast.hpp>
#include <charconv>

namespace troupe {
namespace {

template <class Message>
void send_to(const caf::actor_addr& events, Message what) {
  if (auto to = caf::actor_cast<caf::actor>(events)) caf::anon_send(to, std::move(what));
}

template <class Number>
bool read_number(std::string_view text, Number& into) {
  auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), into);
  return !text.empty() && problem == std::errc{} && end == text.data() + text.size();
}

} // namespace

std::string to_string(const event_cursor& cursor) {
  return std::to_string(cursor.epoch) + ':' + cursor.member + ':' + std::to_string(cursor.seq);
}

outcome<event_cursor> parse_event_cursor(std::string_view text) {
  event_cursor out;
  auto first = text.find(':'), last = text.rfind(':');
  if (first == text.npos || first == last || !read_number(text.substr(0, first), out.epoch) ||
      !read_number(text.substr(last + 1), out.seq))
    return fail(fault::invalid, "\"" + std::string{text.substr(0, 100)} + "\" is no cursor EPOCH:MEMBER:SEQ");
  out.member = text.substr(first + 1, last - first - 1);
  return out;
}

void subscription::grant(uint32_t credits) { send_to(events_, grant_credits{id_, credits}); }
void subscription::acknowledge(uint64_t seq) { send_to(events_, acknowledge_events{id_, seq}); }
void subscription::close() { send_to(events_, close_subscription{id_}); }

} // namespace troupe
