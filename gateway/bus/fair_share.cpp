#include "gateway/bus/fair_share.hpp"

namespace troupe::on_bus {
namespace {

constexpr size_t at_work_alone = 128;
constexpr size_t at_work_beside_others = 4;
constexpr kj::Duration neighbourhood = 250 * kj::MILLISECONDS; // since somebody else's last call

} // namespace

void fair_share::called(const void* session) {
  if (session != latest_.session) before_ = latest_;
  latest_ = {session, clock_.now()};
}

size_t fair_share::at_work_max(const void* session) const {
  const call& other = session == latest_.session ? before_ : latest_;
  bool shared = other.session && clock_.now() - other.at < neighbourhood;
  return shared ? at_work_beside_others : at_work_alone;
}

} // namespace troupe::on_bus
