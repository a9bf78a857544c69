#pragma once

#include "actors/records.hpp"
#include "gateway/bus/ask.hpp"
#include "runtime/keyed_work.hpp"

namespace troupe::on_bus {

/// As on_blocking_thread, for what may hang in the files of the instance at `at`.
template <class Work>
auto inside_instance(const place& at, Work work) {
  using value = typename std::invoke_result_t<Work>::value_type;
  auto [ticket, answer] = make_ticket<value>();
  keyed_work job{instance_key(at.head->project, at.name()),
                 [back = ticket, work = std::move(work)]() mutable { back->fill(work()); }};
  if (!at.with().blocking.submit(std::move(job)))
    refuse(fault::busy, "The instance has too much to do right now; try again");
  return kj::mv(answer);
}

} // namespace troupe::on_bus
