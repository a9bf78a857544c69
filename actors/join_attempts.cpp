#include "actors/join_attempts.hpp"

#include "runtime/listen_address.hpp"

namespace troupe {
namespace {

// Who has one IPv6 address has its whole /64.
std::string network_of(const std::string& address) {
  auto host = host_of(address);
  if (host.find(':') == host.npos) return host;
  size_t end = 0;
  for (int parts = 0; parts < 4 && end != host.npos; ++parts) {
    end = host.find(':', end);
    if (end != host.npos) ++end;
  }
  return host.substr(0, end);
}

} // namespace

void join_attempts::forget_old(time now) {
  std::erase_if(hosts_, [now](auto& each) { return each.second.until <= now; });
}

bool join_attempts::may_try(const std::string& address, time now) {
  auto at = hosts_.find(network_of(address));
  if (at == hosts_.end()) {
    if (hosts_.size() >= hosts_max) forget_old(now);
    return hosts_.size() < hosts_max;
  }
  if (at->second.until <= now)
    hosts_.erase(at);
  else
    return at->second.wrong < wrong_max;
  return true;
}

void join_attempts::was_wrong(const std::string& address, time now) {
  auto& host = hosts_[network_of(address)];
  ++host.wrong;
  host.until = now + window;
}

} // namespace troupe
