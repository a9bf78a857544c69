#pragma once

#include "net/links.hpp"

namespace troupe {

/// Fills the `addresses` of an object that shows a link (an instance's card, a network): same fields, own types.
template <class Owner>
void fill_addresses(Owner into, const link_facts& link) {
  auto addresses = into.initAddresses(static_cast<unsigned>(link.addresses.size()));
  for (unsigned i = 0; i < link.addresses.size(); ++i) {
    addresses[i].setFamily(link.addresses[i].family);
    addresses[i].setAddress(link.addresses[i].address);
    addresses[i].setNetmask(link.addresses[i].netmask);
    addresses[i].setScope(link.addresses[i].scope);
  }
}

} // namespace troupe
