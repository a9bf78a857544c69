#pragma once

#include "messages/error.hpp"

#include <kj/exception.h>

namespace troupe::on_bus {

/// The form an error has on the bus: "CODE: sentence".
kj::Exception to_exception(const error& why);

[[noreturn]] void refuse(const error& why);
[[noreturn]] inline void refuse(fault code, std::string message) { refuse(error{code, std::move(message)}); }

template <class T>
T value_of(outcome<T> result) {
  if (!result) refuse(result.error());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

} // namespace troupe::on_bus
