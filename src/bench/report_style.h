// The style sheet of reports: light and dark screens and paper, from one set of custom properties.
#pragma once

#include <string_view>

namespace quire {

std::string_view ReportCss();

}  // namespace quire
