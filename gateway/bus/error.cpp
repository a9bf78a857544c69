#include "gateway/bus/error.hpp"

#include <kj/debug.h>

namespace troupe::on_bus {
namespace {

// The RPC layer knows four kinds, which tell a client whether trying again helps.
kj::Exception::Type type_of(fault code) {
  if (code == fault::busy) return kj::Exception::Type::OVERLOADED;
  if (code == fault::unsupported) return kj::Exception::Type::UNIMPLEMENTED;
  return kj::Exception::Type::FAILED;
}

} // namespace

kj::Exception to_exception(const error& why) {
  auto text = std::string{to_string(why.code)} + ": " + why.message;
  return kj::Exception{type_of(why.code), "bus", 0, kj::heapString(text.data(), text.size())};
}

void refuse(const error& why) {
  kj::throwFatalException(to_exception(why));
  KJ_UNREACHABLE;
}

} // namespace troupe::on_bus
