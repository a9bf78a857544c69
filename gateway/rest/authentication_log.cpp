#include "gateway/rest/authentication_log.hpp"

#include "actors/security_event.hpp"
#include "actors/store_actor.hpp"
#include "runtime/certificate.hpp"
#include "runtime/listen_address.hpp"

namespace troupe {
namespace {

constexpr std::chrono::minutes quiet{5};
constexpr size_t remembered_max = 4096; // beyond, nobody new is told of: who floods must not fill the disk

} // namespace

bool authentication_log::is_news(std::string_view name, const header& head) {
  auto now = std::chrono::steady_clock::now();
  auto key = std::string{name} + ' ' + head.who.username + ' ' + host_of(head.who.address);
  auto at = told_.find(key);
  if (at != told_.end() && now - at->second < quiet) return false;
  if (at == told_.end() && told_.size() >= remembered_max)
    std::erase_if(told_, [&](auto& each) { return now - each.second >= quiet; });
  if (at == told_.end() && told_.size() >= remembered_max) return false;
  told_.insert_or_assign(std::move(key), now);
  return true;
}

void authentication_log::tell(message<schema::Event> event) {
  auto told = std::make_shared<batch>();
  told->events.push_back(std::move(event));
  if (auto store = with_.find(role::store)) caf::anon_send(store, propose{told});
}

void authentication_log::came_in(const header& head) {
  if (is_news("authenticated", head))
    tell(security_event(head, "authenticated", schema::Event::Level::INFO, "A trusted client connected"));
}

void authentication_log::turned_away(const header& head, const http_peer& peer, config_map asked,
                                     const std::string& why) {
  if (!is_news("refused: " + why, head)) return; // for another reason it is news again
  if (peer.shown) asked.emplace("fingerprint", peer.shown->fingerprint);
  tell(security_event(head, "refused", schema::Event::Level::WARNING, why, asked));
}

} // namespace troupe
