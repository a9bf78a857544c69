#pragma once

#include "actors/pools.hpp"
#include "gateway/rest/request.hpp"

namespace troupe {

/// Answers with what `work(driver)` says of the pool that the request's first parameter names, on a blocking thread.
template <class Work>
void with_driver(const rest_request& from, Work work) {
  ask<driver_ptr>(
      from, role::pools,
      [from, work](const outcome<driver_ptr>& driver) {
        if (!driver) return reply_error(from, driver.error());
        reply_from_blocking_thread(from, [driver = *driver, work] { return work(*driver); });
      },
      borrow_driver{from.parameter(0)});
}

} // namespace troupe
